"""TrivialAugment on the CPU: what is drawn, what each operation does, and that nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from maam.data.augment.trivial import (
    ENHANCERS,
    GEOMETRIC,
    OPS,
    Draws,
    apply_trivial,
    draw_trivial,
    trivial_augment,
)
from maam.data.augment.trivial import settings as settings_of


@pytest.fixture
def images(rng):
    """Three photographs' worth of noise, neither black nor white anywhere."""
    return rng.integers(20, 200, (3, 32, 32, 3)).astype(np.uint8)


def all_with(op: str, level: int, number: int = 3) -> Draws:
    return Draws(np.full(number, OPS.index(op)), np.full(number, level))


def test_operations_magnitudes_and_signs_are_uniform():
    draws = draw_trivial(28_000, np.random.default_rng(0))
    counts = np.bincount(draws.op, minlength=14)
    assert len(counts) == len(OPS) == 14
    assert counts.min() > 1800 and counts.max() < 2200  # 2000 expected, deviation 43
    counts = np.bincount(abs(draws.level), minlength=31)
    assert len(counts) == 31
    assert counts.min() > 760 and counts.max() < 1050  # 903 expected, deviation 30
    assert 0.48 < (draws.level > 0).sum() / (draws.level != 0).sum() < 0.52
    assert abs(np.corrcoef(draws.op, draws.level)[0, 1]) < 0.03


def test_a_seed_decides_everything(images):
    many = np.tile(images, (20, 1, 1, 1))
    one, same, other = (trivial_augment(many, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("op", "setting"),
    [
        ("ShearX", [1, 0.99, 0, 0, 1, 0]),
        ("ShearY", [1, 0, 0, 0.99, 1, 0]),
        ("TranslateX", [1, 0, -32, 0, 1, 0]),
        ("TranslateY", [1, 0, 0, 0, 1, -32]),
        ("Brightness", [1.99]),
        ("Color", [1.99]),
        ("Contrast", [1.99]),
        ("Sharpness", [1.99]),
        ("Posterize", [2]),
        ("Solarize", [0]),
    ],
)
def test_the_strongest_settings_are_the_published_ones(op, setting):
    for size in ((32, 32), (64, 48)):
        row = settings_of(all_with(op, 30, 1), *size)[0]
        np.testing.assert_allclose(row, setting + [0] * (6 - len(setting)), atol=1e-12)


def test_small_images_are_moved_by_their_own_side_at_most():
    assert settings_of(all_with("TranslateX", 30, 1), 8, 12)[0, 2] == -12
    assert settings_of(all_with("TranslateY", -30, 1), 8, 12)[0, 5] == 8


@pytest.mark.parametrize("op", OPS[1:])
@pytest.mark.parametrize("sign", [-1, 1])
def test_every_operation_changes_every_image_at_full_strength(images, op, sign):
    changed = apply_trivial(images, all_with(op, 30 * sign))
    assert changed.shape == images.shape
    assert changed.dtype == np.uint8
    assert (changed != images).any((1, 2, 3)).all()


@pytest.mark.parametrize("op", ["Identity", *GEOMETRIC, *ENHANCERS, "Posterize", "Solarize"])
def test_magnitude_0_changes_nothing(images, op):
    assert np.array_equal(apply_trivial(images, all_with(op, 0)), images)


def test_solarize_at_magnitude_0_still_inverts_white():
    white = np.full((1, 2, 2, 1), 255, np.uint8)  # the published threshold, 255, does that
    assert not apply_trivial(white, all_with("Solarize", 0, 1)).any()


def test_signs_are_opposite_and_unsigned_operations_ignore_them(images):
    for op in OPS:
        plus, minus = (apply_trivial(images, all_with(op, level)) for level in (12, -12))
        signed = op in GEOMETRIC or op in ENHANCERS
        assert np.array_equal(plus, minus) != signed, op


def test_pixels_move_the_right_way_and_the_reflection_comes_in(images):
    # Level 15 of 30: half of 32 pixels, to the right or down.
    moved = apply_trivial(images, all_with("TranslateX", 15))
    assert np.array_equal(moved[:, :, 16:], images[:, :, :16])
    assert np.array_equal(moved[:, :, :16], images[:, :, 16:0:-1])
    moved = apply_trivial(images, all_with("TranslateY", 15))
    assert np.array_equal(moved[:, 16:], images[:, :16])
    assert np.array_equal(moved[:, :16], images[:, 16:0:-1])
    # Level 20 of 30: a right angle.
    turned = apply_trivial(images, all_with("Rotate", 20))
    assert np.array_equal(turned, np.rot90(images, 1, (1, 2)))
    # A shear leaves the first row and column where they are, and slides the last by 0.99 * 31.5.
    sheared = apply_trivial(images, all_with("ShearX", 30))
    assert np.array_equal(sheared[:, 0], images[:, 0])
    assert np.array_equal(sheared[:, 31, 0], images[:, 31, 31])
    assert np.array_equal(sheared[:, 31, 1], images[:, 31, 30])


@pytest.mark.parametrize("op", GEOMETRIC)
@pytest.mark.parametrize("size", [(32, 32), (9, 20)])
def test_nothing_black_comes_in(op, size):
    images = np.random.default_rng(0).integers(20, 200, (61, *size, 3)).astype(np.uint8)
    changed = apply_trivial(images, Draws(np.full(61, OPS.index(op)), np.arange(-30, 31)))
    assert changed.min() >= 20


@pytest.mark.parametrize("size", [(32, 32), (9, 20), (30, 7)])
def test_what_comes_in_is_numpys_reflection(size, rng):
    """Pillow moves the image within a wide reflection of it."""
    image, far = rng.integers(0, 256, (*size, 3)).astype(np.uint8), 80
    padded = Image.fromarray(np.pad(image, ((far, far), (far, far), (0, 0)), mode="reflect"))
    for op in GEOMETRIC:
        for level in (-30, -17, 8, 30):
            a, b, c, d, e, f = settings_of(all_with(op, level, 1), *size)[0]
            moved = (a, b, c + far, d, e, f + far)
            nearest = Image.Resampling.NEAREST
            wanted = padded.transform(size[::-1], Image.Transform.AFFINE, moved, nearest)
            found = apply_trivial(image[None], all_with(op, level, 1))[0]
            assert np.array_equal(found, np.asarray(wanted)), (op, level)


def test_rotation_is_pillows(images):
    for level in range(-30, 31):
        turned = apply_trivial(images[:1], all_with("Rotate", level, 1))[0]
        expected = np.asarray(Image.fromarray(images[0]).rotate(4.5 * level))
        inside = expected.any(2)  # no pixel of the image is black
        assert inside.mean() > 0.7 and np.array_equal(turned[inside], expected[inside]), level


def test_the_rest_is_pillows(images):
    image = Image.fromarray(images[0])
    expected = {
        "Color": ImageEnhance.Color(image).enhance(1.66),
        "Posterize": ImageOps.posterize(image, 4),
        "Solarize": ImageOps.solarize(image, 85),
        "AutoContrast": ImageOps.autocontrast(image),
        "Equalize": ImageOps.equalize(image),
    }
    for op, result in expected.items():
        changed = apply_trivial(images[:1], all_with(op, 20, 1))[0]
        assert np.array_equal(changed, np.asarray(result)), op


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    channels=st.sampled_from([1, 3]),
    number=st.integers(0, 30),
    seed=st.integers(0, 99),
)
def test_each_image_by_itself_at_any_size(size, channels, number, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (number, *size, channels)).astype(np.uint8)
    before, draws = images.copy(), draw_trivial(number, rng)
    result = apply_trivial(images, draws)
    assert np.array_equal(images, before)
    assert result.shape == images.shape and result.dtype == np.uint8
    assert not np.shares_memory(result, images)
    for i in range(number):
        alone = apply_trivial(images[i : i + 1], Draws(draws.op[i : i + 1], draws.level[i : i + 1]))
        assert np.array_equal(result[i], alone[0])
        if OPS[draws.op[i]] == "Color" and channels == 1:
            assert np.array_equal(result[i], images[i])
