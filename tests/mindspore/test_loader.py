"""What the network sees: preprocessing, augmentation, and the batches' order."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor
from tiny_pack import make_pack, whole

from maam.data.augment import Augmentation, augment
from maam.data.base import ArraySplit, Dataset
from maam.data.preprocessing import Preprocessing
from maam.data.splits import limit
from maam.mindspore.loader import eval_batches, train_batches


def make_split(count: int, height: int = 8, width: int = 8, channels: int = 3) -> ArraySplit:
    images = np.random.default_rng(0).integers(0, 256, (count, height, width, channels))
    names = tuple(str(number) for number in range(count))
    return ArraySplit(images.astype(np.uint8), np.arange(count, dtype=np.int32), names)


CROP, CROP_FLIP = Augmentation("crop"), Augmentation("crop-flip")
UNIT = Preprocessing((8, 8), 3, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def collect(batches):
    pairs = [(images.asnumpy().copy(), labels.asnumpy().copy()) for images, labels in batches]
    return [np.concatenate(parts) for parts in zip(*pairs, strict=True)], [len(p[1]) for p in pairs]


def test_unit_preprocessing_is_the_papers():
    split = make_split(2)
    assert Preprocessing.fit(split, "unit") == UNIT
    seen = UNIT(split.images)
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen, split.images.transpose(0, 3, 1, 2) / 255, atol=1e-6)


def test_standard_preprocessing_gives_mean_0_and_deviation_1():
    split = make_split(50)
    preprocessing = Preprocessing.fit(split, "standard")
    seen = preprocessing(split.images)
    np.testing.assert_allclose(seen.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(seen.std((0, 2, 3)), 1, atol=1e-4)
    assert Preprocessing.from_dict(preprocessing.to_dict()) == preprocessing
    flat = np.full((3, 4, 4, 1), 7, np.uint8)  # one colour only
    one_colour = ArraySplit(flat, np.zeros(3, np.int32), ("",) * 3)
    assert np.isfinite(Preprocessing.fit(one_colour, "standard")(flat)).all()


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 17),
    width=st.integers(1, 17),
    channels=st.sampled_from([1, 3]),
    kind=st.sampled_from(["none", "crop", "crop-flip"]),
    seed=st.integers(0, 99),
)
def test_augmentation_shifts_and_mirrors_each_image_and_nothing_else(
    height, width, channels, kind, seed
):
    images = make_split(5, height, width, channels).images
    before = images.copy()
    result = augment(images, Augmentation(kind), np.random.default_rng(seed))
    assert np.array_equal(images, before)
    pad = max(1, min(height, width) // 8)
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    for image, canvas, original in zip(result, padded, images, strict=True):
        crops = [
            canvas[top : top + height, left : left + width]
            for top in range(2 * pad + 1)
            for left in range(2 * pad + 1)
        ]
        if kind == "none":
            crops = [original]
        if kind == "crop-flip":
            crops += [crop[:, ::-1] for crop in crops]
        assert any(np.array_equal(image, crop) for crop in crops)


def test_half_of_the_images_are_mirrored_and_all_shifts_happen():
    row = np.arange(1, 33, dtype=np.uint8)
    images = np.tile(row[None, None, :, None], (4000, 32, 1, 1))
    changed = augment(images, CROP_FLIP, np.random.default_rng(0))
    result = changed[:, 16, :, 0].astype(int)
    mirrored = result[:, 15] > result[:, 16]
    assert 0.45 < mirrored.mean() < 0.55
    shifts = result[~mirrored, 16] - 17
    assert sorted(set(shifts)) == list(range(-4, 5))


def test_an_epoch_has_every_image_once_and_the_key_decides_the_order():
    split = make_split(70)
    runs = {}
    for key, workers in (((0, 0), 1), ((0, 0), 4), ((0, 1), 1), ((1, 0), 1)):
        (images, labels), sizes = collect(train_batches(split, UNIT, 32, CROP, key, workers))
        assert sizes == [32, 32, 32]  # the first 26 images come again to fill the last batch
        assert len(set(labels)) == 70 and list(labels[:26]) == list(labels[70:])
        runs.setdefault(key, []).append((images, labels))
    (one, four) = runs[0, 0]
    assert np.array_equal(one[0], four[0])  # workers change nothing
    assert np.array_equal(one[1], four[1])
    assert not np.array_equal(one[1], runs[0, 1][0][1])
    assert not np.array_equal(one[1], runs[1, 0][0][1])


class Threads:
    """A ``GeneratorDataset``, for MindSpore itself refuses more workers than there are cores.

    Its workers take the last batches first, all at once.
    """

    def __init__(self, source, columns, num_parallel_workers, **options):
        self.source, self.workers = source, num_parallel_workers

    def create_tuple_iterator(self, num_epochs):
        assert num_epochs == 1
        together = Barrier(self.workers, timeout=60)

        def batch(number):
            if number >= len(self.source) - self.workers:  # none begins before all have one
                together.wait()
            return [Tensor(part) for part in self.source[number]]

        with ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(batch, reversed(range(len(self.source)))))[::-1]


@pytest.mark.parametrize("kind", ["arrays", "pack"])
def test_any_number_of_workers_gives_the_same_batches(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    split = make_split(70) if kind == "arrays" else whole(make_pack(tmp_path, 70, 1))
    how = Augmentation("crop-flip", erase=0.25, cutmix=1.0, num_classes=70)
    what = split, UNIT, 8, how, (0, 3)
    expected, sizes = collect(train_batches(*what, workers=1))
    assert sizes == [8] * 9
    monkeypatch.setattr("mindspore.dataset.GeneratorDataset", Threads)
    for workers in (1, 2, 4, 8):
        found, _ = collect(train_batches(*what, workers=workers))
        assert all(map(np.array_equal, found, expected))


def test_augmentation_differs_between_epochs():
    split = make_split(1)
    seen = {
        next(iter(train_batches(split, UNIT, 1, CROP_FLIP, (0, epoch))))[0].asnumpy().tobytes()
        for epoch in range(20)
    }
    assert len(seen) > 5


def test_a_share_of_the_images_loses_a_rectangle():
    split = make_split(400)
    (plain, labels), _ = collect(train_batches(split, UNIT, 50, Augmentation("none"), (0, 0)))
    how = Augmentation("none", erase=0.25)
    (erased, again), _ = collect(train_batches(split, UNIT, 50, how, (0, 0)))
    assert np.array_equal(labels, again)
    changed = erased != plain
    assert (erased[changed] == 0).all()
    assert 0.15 < changed.any((1, 2, 3)).mean() < 0.35


def test_evaluation_keeps_order_and_the_last_batch():
    split = make_split(70)
    (images, labels), sizes = collect(eval_batches(split, UNIT, 32))
    assert sizes == [32, 32, 6]
    assert np.array_equal(labels, split.labels)
    np.testing.assert_array_equal(images, UNIT(split.images))


def test_limit_and_all_keep_what_they_promise():
    split = make_split(9)
    labelled = ArraySplit(split.images, np.repeat([0, 1, 2], 3).astype(np.int32), split.names)
    dataset = Dataset("x", "x", ("a", "b", "c"), labelled, labelled.take(np.array([0])), labelled)
    assert np.bincount(limit(dataset, 6, 0).train.labels).tolist() == [2, 2, 2]
    assert len(dataset.all) == 19
    with pytest.raises(Exception, match="9"):
        limit(dataset, 10, 0)


@pytest.mark.parametrize("kind", ["arrays", "pack"])
def test_ranks_share_each_batch(kind, tmp_path):
    split = make_split(70) if kind == "arrays" else whole(make_pack(tmp_path, 70, 1))
    what = split, UNIT, 16, Augmentation(), (3, 1)
    (images, labels), sizes = collect(train_batches(*what))
    assert sizes == [16] * 5 and set(labels) == set(range(70))
    parts = [collect(train_batches(*what, rank=rank, world=4)) for rank in range(4)]
    assert [sizes for _, sizes in parts] == [[4] * 5] * 4
    for position, expected in enumerate((images, labels)):
        shares = [part[position].reshape(5, 4, *expected.shape[1:]) for part, _ in parts]
        np.testing.assert_array_equal(np.concatenate(shares, 1).reshape(expected.shape), expected)
    (late, answers), _ = collect(train_batches(*what, begin=2, rank=1, world=4))
    np.testing.assert_array_equal(late, parts[1][0][0][8:])
    np.testing.assert_array_equal(answers, parts[1][0][1][8:])
