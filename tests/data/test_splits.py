"""Stratified choices: exact counts, fair shares, and the same result for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maam.core.errors import MaamError
from maam.data.base import ArraySplit
from maam.data.splits import hold_out, stratified_choice

labels_lists = st.lists(st.integers(0, 6), min_size=1, max_size=60)


def make_split(labels: list[int]) -> ArraySplit:
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 2, 2, 1), np.uint8
    )
    return ArraySplit(
        images, np.array(labels, np.int32), tuple(f"image/{i}" for i in range(len(labels)))
    )


@settings(max_examples=60, deadline=None)
@given(labels_lists, st.data())
def test_choice_is_exact_sorted_and_covers_every_class(labels, data):
    count = data.draw(st.integers(0, len(labels)))
    chosen = stratified_choice(np.array(labels), count, seed=1)
    assert len(set(chosen)) == count
    assert (np.diff(chosen) > 0).all()
    covered = len(set(np.array(labels)[chosen]))
    assert covered == min(count, len(set(labels)))


def test_choice_keeps_the_shares_of_the_classes():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    chosen = stratified_choice(labels, 50, seed=3)
    assert np.bincount(labels[chosen]).tolist() == [30, 15, 5]
    labels = np.repeat([0, 1, 2, 3], [910, 30, 30, 30])  # shares of 40: 36.4, 1.2, 1.2, 1.2
    chosen = stratified_choice(labels, 40, seed=3)
    assert np.bincount(labels[chosen]).tolist() == [37, 1, 1, 1]


def test_larger_choice_contains_the_smaller():
    labels = np.arange(100) % 7
    assert set(stratified_choice(labels, 20, 5)) < set(stratified_choice(labels, 60, 5))


def test_choice_depends_on_the_seed_alone():
    labels = np.arange(200) % 10
    np.random.seed(0)
    first = stratified_choice(labels, 50, 4)
    state = np.random.get_state()[1].copy()  # type: ignore[index]
    np.random.seed(1)
    assert (stratified_choice(labels, 50, 4) == first).all()
    assert (stratified_choice(labels, 50, 5) != first).any()
    np.random.seed(0)
    stratified_choice(labels, 50, 4)
    assert (np.random.get_state()[1] == state).all()  # type: ignore[index]


@pytest.mark.parametrize("count", [-1, 4])
def test_impossible_count_is_refused(count):
    with pytest.raises(MaamError, match=f"cannot choose {count} of 3 images"):
        stratified_choice(np.array([0, 1, 2]), count, 0)


@settings(max_examples=60, deadline=None)
@given(labels_lists, st.floats(0, 0.9))
def test_hold_out_partitions_and_keeps_rows_together(labels, fraction):
    split = make_split(labels)
    train, val = hold_out(split, fraction, seed=2)
    assert len(val) == round(len(labels) * fraction)
    assert sorted([*train.names, *val.names]) == sorted(split.names)
    for part in (train, val):
        for image, label, name in zip(part.pixels(), part.labels, part.names, strict=True):
            index = int(name.split("/")[1])
            assert (image == index).all() and label == labels[index]


def test_hold_out_leaves_one_image_of_every_class_to_train_on():
    train, val = hold_out(make_split([0] * 40 + [1]), 0.5, seed=0)
    assert set(train.labels) == {0, 1}
    assert len(val) == 20


def test_holding_nothing_out_gives_an_empty_split_of_the_same_shape():
    train, val = hold_out(make_split([0, 1, 1]), 0.0, seed=0)
    assert len(train) == 3
    assert val.pixels().shape == (0, 2, 2, 1) and val.pixels().dtype == np.uint8
    assert val.labels.shape == (0,) and val.labels.dtype == np.int32
    assert val.names == ()


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_impossible_fraction_is_refused(fraction):
    with pytest.raises(MaamError, match="fraction"):
        hold_out(make_split([0, 1]), fraction, 0)
