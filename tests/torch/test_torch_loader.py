"""The input pipeline in PyTorch: batches, their order, and mixed images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_pack import make_pack, whole

from maam.data.augment import Augmentation, augment
from maam.data.augment.erasing import draw_boxes
from maam.data.augment.mixing import apply_mix, draw_mix, mix_labels
from maam.data.base import ArraySplit
from maam.data.preprocessing import Preprocessing
from maam.torch.loader import input_maker, train_batches


def batches_of(kind, key=(0, 0), **mix):
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (70, 9, 8, 3)).astype(np.uint8))
    split = ArraySplit(images.numpy(), np.arange(70, dtype=np.int32) % 7, ("",) * 70)
    unit = Preprocessing.fit(split, "standard")
    how = Augmentation(kind, num_classes=7, **mix)
    return images, unit, list(train_batches(images, torch.arange(70) % 7, unit, 16, how, key))


def images_of(batches) -> np.ndarray:
    return np.concatenate([images.numpy() for images, _ in batches])


def test_batches_hold_every_image_once_as_it_is():
    images, preprocessing, batches = batches_of("none")
    assert [len(labels) for _, labels in batches] == [16] * 5  # the first ten come again
    seen = torch.cat([pixels for pixels, _ in batches])
    known = input_maker(preprocessing, images.device)(images)
    np.testing.assert_allclose(known.numpy(), preprocessing(images.numpy()), atol=1e-6)
    found = [int((known - one).abs().sum((1, 2, 3)).argmin()) for one in seen]
    assert len(set(found)) == 70 and found != sorted(found) and found[:10] == found[70:]
    assert torch.equal(seen, known[found])
    assert torch.equal(torch.cat([labels for _, labels in batches]), torch.tensor(found) % 7)


@pytest.mark.parametrize("mix", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 0.3, "cutmix": 1.0}])
def test_mixed_batches_are_those_of_numpy(mix):
    _, _, plain = batches_of("none")
    _, preprocessing, mixed = batches_of("none", **mix)
    rng = np.random.default_rng((0, 0))
    for (pixels, labels), (found, shares) in zip(plain, mixed, strict=True):
        how = draw_mix(rng, mix.get("mixup", 0), mix.get("cutmix", 0), preprocessing.size)
        np.testing.assert_allclose(found.numpy(), apply_mix(pixels.numpy(), how), atol=1e-6)
        np.testing.assert_allclose(shares.numpy(), mix_labels(labels.numpy(), how, 7), atol=1e-6)


def test_erased_batches_are_those_of_numpy():
    _, preprocessing, plain = batches_of("none")
    _, _, erased = batches_of("none", erase=0.5)
    black = preprocessing(np.zeros((1, 9, 8, 3), np.uint8))
    boxes = draw_boxes(np.random.default_rng((0, 0)), 80, (9, 8), 0.5)
    for number, (before, after) in enumerate(zip(images_of(plain), images_of(erased), strict=True)):
        top, bottom, left, right = boxes[number]
        before[:, top:bottom, left:right] = black[0, :, top:bottom, left:right]
        np.testing.assert_allclose(after, before, atol=1e-6)


@pytest.mark.parametrize("kind", ["crop", "crop-flip", "trivial"])
def test_batches_depend_on_seed_and_epoch_alone(kind):
    one, again, other = (batches_of(kind, key)[2] for key in ((0, 1), (0, 1), (0, 2)))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0][0], other[0][0])


def test_mixed_labels_are_shares():
    for mix in ({"mixup": 1.0}, {"cutmix": 1.0}):
        _, _, batches = batches_of("none", **mix)
        for pixels, labels in batches:
            assert labels.shape == (16, 7) and pixels.shape == (16, 3, 9, 8)
            np.testing.assert_allclose(labels.sum(1).numpy(), 1, atol=1e-5)
        assert any(((labels > 0) & (labels < 1)).any() for _, labels in batches)


def test_mindspores_augmentation_knows_trivial_too(rng):
    images = rng.integers(0, 256, (40, 9, 8, 3)).astype(np.uint8)
    flipped = augment(images, Augmentation("crop-flip"), np.random.default_rng(1))
    trivial = augment(images, Augmentation("trivial"), np.random.default_rng(1))
    changed = (flipped != trivial).any((1, 2, 3)).mean()
    assert 0.5 < changed < 1  # identity is one of the 14 operations


@pytest.mark.parametrize("kind", ["arrays", "pack"])
def test_ranks_share_each_batch(kind, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (70, 8, 8, 3)).astype(np.uint8)
    pixels = torch.from_numpy(images) if kind == "arrays" else whole(make_pack(tmp_path, 70, 1))
    unit = Preprocessing((8, 8), 3, (0.0,) * 3, (1.0,) * 3)
    what = pixels, torch.arange(70), unit, 16, Augmentation(), (3, 1)
    batches = list(train_batches(*what))
    assert set(torch.cat([labels for _, labels in batches]).tolist()) == set(range(70))
    parts = [list(train_batches(*what, rank=rank, world=4)) for rank in range(4)]
    for batch, *shares in zip(batches, *parts, strict=True):
        for expected, *some in zip(batch, *shares, strict=True):
            assert [len(share) for share in some] == [4] * 4
            assert torch.equal(torch.cat(some), expected)
    late = train_batches(*what, begin=2, rank=1, world=4)
    for batch, expected in zip(late, parts[1][2:], strict=True):
        assert all(map(torch.equal, batch, expected))


def test_ranks_augment_on_their_own():
    images, unit, _ = batches_of("none")
    images[:] = images[:1]
    what = images, torch.arange(70), unit, 16, Augmentation("crop"), (0, 0)
    one, again, other = (next(train_batches(*what, rank=r, world=2))[0] for r in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
