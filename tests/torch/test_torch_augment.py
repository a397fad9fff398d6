"""Augmentation in PyTorch gives, from the same draws, the same pixels as NumPy and Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maam.data import augment
from maam.data.augment import mixing, trivial
from maam.data.augment.mixing import Mix
from maam.data.augment.trivial import OPS, Draws
from maam.torch.augment import (
    apply_mix,
    apply_trivial,
    crop_flip,
    draw_trivial,
    shift_mirror,
    trivial_augment,
)

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Noise, a third each: all values, a narrow range, and many at 0 and 255."""
    images = np.random.default_rng(seed).integers(0, 256, shape)
    images[1::3] = images[1::3] // 3 + 40
    images[2::3] = (2 * images[2::3] - 128).clip(0, 255)
    return images.astype(np.uint8)


def assert_same_pixels(images: np.ndarray, draws: Draws) -> None:
    """No pixel may differ by anything, for any operation."""
    pixels = torch.from_numpy(images.copy())
    result = apply_trivial(pixels, draws)
    assert result.dtype == torch.uint8
    assert np.array_equal(pixels.numpy(), images)
    expected = trivial.apply_trivial(images, draws)
    different = (result.numpy() != expected).any((1, 2, 3))
    assert not different.any(), {(OPS[op], level) for op, level in np.stack(draws, 1)[different]}


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (8, 8, 1), (17, 30, 3)])
def test_every_operation_at_every_level_is_pillows_to_the_pixel(shape):
    op, level, _ = np.indices((len(OPS), 61, 3)).reshape(3, -1)  # on three images each
    assert_same_pixels(pictures((len(op), *shape)), Draws(op, level - 30))


@settings(max_examples=30, deadline=None)
@given(
    size=SIZES, channels=st.sampled_from([1, 3]), number=st.integers(0, 40), seed=st.integers(0, 99)
)
def test_random_draws_at_any_size_are_pillows_to_the_pixel(size, channels, number, seed):
    images = pictures((number, *size, channels), seed)
    assert_same_pixels(images, draw_trivial(number, seeded(seed)))


def test_flat_images_stay_flat():
    images = np.full((28, 9, 9, 3), 77, np.uint8)
    op = np.repeat([OPS.index("AutoContrast"), OPS.index("Equalize")], 14)
    result = apply_trivial(torch.from_numpy(images), Draws(op, np.zeros(28, int)))
    assert np.array_equal(result.numpy(), images)


def test_operations_magnitudes_and_signs_are_uniform():
    draws = draw_trivial(28_000, seeded())
    counts = np.bincount(draws.op)
    assert len(counts) == 14
    assert counts.min() > 1800 and counts.max() < 2200
    counts = np.bincount(abs(draws.level))
    assert len(counts) == 31
    assert counts.min() > 760 and counts.max() < 1050
    assert 0.48 < (draws.level > 0).sum() / (draws.level != 0).sum() < 0.52


@pytest.mark.parametrize(
    "change", [trivial_augment, lambda images, generator: crop_flip(images, "crop-flip", generator)]
)
def test_a_generators_state_decides_everything(change):
    images = torch.from_numpy(pictures((60, 16, 16, 3)))
    one, same, other = (change(images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    generator = seeded(1)
    change(images, generator)
    assert not torch.equal(change(images, generator), one)


@settings(max_examples=40, deadline=None)
@given(
    size=SIZES,
    channels=st.sampled_from([1, 3]),
    number=st.integers(0, 9),
    kind=st.sampled_from(["none", "crop", "crop-flip"]),
    seed=st.integers(0, 99),
)
def test_crop_and_flip_are_numpys_from_the_same_draws(size, channels, number, kind, seed):
    images = pictures((number, *size, channels), seed)
    expected = augment.augment(images, augment.Augmentation(kind), np.random.default_rng(seed))
    if kind == "none":
        result = crop_flip(torch.from_numpy(images), kind, seeded())
    else:  # what ``transforms.augment`` draws, in its order
        rng, pad = np.random.default_rng(seed), max(1, min(size) // 8)
        shifts = torch.from_numpy(rng.integers(0, 2 * pad + 1, (2, number, 1))[..., 0] - pad)
        mirrored = torch.from_numpy((rng.random(number) < 0.5) & (kind == "crop-flip"))
        result = shift_mirror(torch.from_numpy(images), shifts, mirrored)
    assert result.dtype == torch.uint8
    assert np.array_equal(result.numpy(), expected)


@pytest.mark.parametrize(("kind", "share"), [("crop", 0.0), ("crop-flip", 0.5), ("trivial", 0.5)])
def test_all_shifts_happen_and_half_of_the_images_are_mirrored(kind, share):
    row, column = np.indices((32, 32)) + 1
    images = torch.from_numpy(np.stack((row, column), 2).astype(np.uint8)).expand(4000, -1, -1, -1)
    middle = crop_flip(images, kind, seeded())[:, 16].int()  # (N, 32, 2)
    mirrored = middle[:, 15, 1] > middle[:, 16, 1]
    assert abs(mirrored.float().mean() - share) < 0.03
    for shifts in (middle[:, 16, 0] - 17, middle[~mirrored, 16, 1] - 17):
        values, counts = shifts.unique(return_counts=True)
        assert values.tolist() == list(range(-4, 5))
        assert counts.min() > 0.7 * counts.max()


@settings(max_examples=30, deadline=None)
@given(size=SIZES, number=st.integers(1, 6), box=st.booleans(), seed=st.integers(0, 999))
def test_mixing_is_numpys(size, number, box, seed):
    rng = np.random.default_rng(seed)
    mix = mixing.draw_mix(rng, 0 if box else 0.5, 1 if box else 0, size)
    images = rng.standard_normal((number, 3, *size), dtype=np.float32)
    mixed = apply_mix(torch.from_numpy(images.copy()), mix)
    assert mixed.dtype == torch.float32
    assert np.array_equal(mixed.numpy(), mixing.apply_mix(images, mix))


@pytest.mark.parametrize("mix", [Mix(0.3), Mix(0.75, (0, 0, 2, 2)), Mix(1.0)])
def test_mixing_keeps_type_and_memory_format(mix):
    images = torch.randn(4, 3, 4, 4, generator=seeded()).to(
        torch.bfloat16, memory_format=torch.channels_last
    )
    before = images.clone()
    mixed = apply_mix(images, mix)
    assert mixed.dtype == torch.bfloat16
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)
