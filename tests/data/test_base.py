"""Splits: the arrays that every source gives, and any other class that does what they do."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maam.core.errors import MaamError
from maam.data.base import ArraySplit, Dataset, Split
from maam.data.splits import hold_out, limit


def make_split(count: int, first: int = 0) -> ArraySplit:
    """Images that are one grey each, their number; three classes in turn."""
    numbers = np.arange(first, first + count)
    images = np.broadcast_to(numbers[:, None, None, None], (count, 2, 3, 1)).astype(np.uint8)
    names = tuple(f"image/{number}" for number in numbers)
    return ArraySplit(images, (numbers % 3).astype(np.int32), names)


class Drawn:
    """A split whose images are drawn when they are asked for."""

    image_shape = (2, 3, 1)

    def __init__(self, numbers: np.ndarray) -> None:
        self.numbers = numbers
        self.labels = (numbers % 3).astype(np.int32)
        self.names = [f"image/{number}" for number in numbers]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, indices: np.ndarray) -> Drawn:
        return Drawn(self.numbers[indices])

    def batches(self, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(self), batch_size):
            part = make_split(256).take(self.numbers[start : start + batch_size])
            yield part.images, part.labels

    def pixels(self) -> np.ndarray:
        return make_split(256).images[self.numbers]

    def digest(self) -> str:
        return ArraySplit(self.pixels(), self.labels, ()).digest()


@pytest.mark.parametrize("kind", [make_split, lambda count: Drawn(np.arange(count))])
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.integers(1, 50))
def test_batches_cover_all_images_in_order_and_the_last_is_short(kind, count, batch_size):
    split: Split = kind(count)
    batches = list(split.batches(batch_size))
    sizes = [len(labels) for _, labels in batches]
    assert sum(sizes) == count and all(size == batch_size for size in sizes[:-1])
    assert all(0 < size <= batch_size for size in sizes)
    pixels = [images for images, _ in batches]
    assert [images.shape[1:] for images in pixels] == [split.image_shape] * len(batches)
    if batches:
        assert np.array_equal(np.concatenate(pixels), split.pixels())
        assert [label for _, labels in batches for label in labels] == split.labels.tolist()
    assert all(images.dtype == np.uint8 for images in pixels)


def test_taking_keeps_rows_together():
    split = make_split(9).take(np.array([7, 0, 7]))
    assert split.pixels()[:, 0, 0, 0].tolist() == [7, 0, 7]
    assert split.labels.tolist() == [1, 0, 1]
    assert split.names == ("image/7", "image/0", "image/7")
    assert split.image_shape == (2, 3, 1)


def test_a_digest_tells_images_labels_and_order_but_not_names():
    split = make_split(6)
    assert split.digest() == ArraySplit(split.images, split.labels, ("",) * 6).digest()
    other = split.images.copy()
    other[3, 1, 1, 0] += 1
    tall = split.images.reshape(6, 3, 2, 1)
    others = [
        ArraySplit(other, split.labels, split.names),
        ArraySplit(tall, split.labels, split.names),
        ArraySplit(split.images, split.labels[::-1], split.names),
        split.take(np.arange(6)[::-1]),
        split.take(np.arange(5)),
    ]
    digests = {each.digest() for each in (split, *others)}
    assert len(digests) == 1 + len(others)
    strided = ArraySplit(np.asfortranarray(split.images), split.labels.astype(np.int64), ())
    assert strided.digest() == split.digest()  # how arrays lie in memory is no matter


@pytest.mark.parametrize("kind", [make_split, lambda count: Drawn(np.arange(count))])
def test_any_split_will_do(kind):
    train, val = hold_out(kind(30), 0.2, seed=0)
    dataset = Dataset("mine", "drawn", ("a", "b", "c"), train, val, make_split(5, 100))
    assert dataset.image_shape == (2, 3, 1)
    assert sorted(dataset.all.names) == sorted(f"image/{n}" for n in [*range(30), *range(100, 105)])
    whole = dataset.all.pixels()[:, 0, 0, 0].tolist()
    assert [f"image/{number}" for number in whole] == list(dataset.all.names)
    assert (np.array(whole) % 3 == dataset.all.labels).all()
    assert dataset.digests().keys() == {"train", "val", "test"}
    assert dataset.digests()["train"] == train.digest() != val.digest()
    small = limit(dataset, 9, seed=1)
    assert np.bincount(small.train.labels).tolist() == [3, 3, 3]
    assert set(small.train.names) < set(train.names)
    assert (small.val, small.test, small.name) == (dataset.val, dataset.test, "mine")
    with pytest.raises(MaamError, match="`limit=25`: there are only 24 training images"):
        limit(dataset, 25, seed=1)
    with pytest.raises(MaamError, match="`limit=2` leaves 1 of 3 classes without a training image"):
        limit(dataset, 2, seed=1)


def test_an_empty_split_has_no_digest():
    dataset = Dataset("mine", "", ("a", "b"), make_split(4), make_split(0), make_split(0))
    assert dataset.digests().keys() == {"train"}
    assert len(dataset.all) == 4


def test_consecutive_images_are_taken_without_a_copy():
    split = make_split(9)
    for indices, shared in (([3, 4, 5], True), ([0], True), ([5, 4], False), ([1, 3], False)):
        taken = split.take(np.array(indices))
        assert np.shares_memory(taken.images, split.images) is shared
        assert taken.images[:, 0, 0, 0].tolist() == indices
        assert list(taken.names) == [f"image/{number}" for number in indices]
    assert len(split.take(np.array([], np.int64))) == 0
    last = split.take(np.array([-2, -1]))
    assert last.images[:, 0, 0, 0].tolist() == [7, 8]
