"""Mixup and CutMix: the numbers that are drawn, and the images that come of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maam.data.augment.mixing import Mix, apply_mix, draw_mix, mix_labels


def draw_many(number: int, mixup: float, cutmix: float, size=(32, 32)) -> list[Mix]:
    rng = np.random.default_rng(0)
    return [draw_mix(rng, mixup, cutmix, size) for _ in range(number)]


def test_without_an_alpha_nothing_is_mixed(rng):
    images = rng.random((3, 1, 4, 4), dtype=np.float32)
    (mix,) = draw_many(1, 0, 0)
    assert mix == Mix(1.0, None)
    assert np.array_equal(apply_mix(images, mix), images)


def test_each_alpha_brings_its_own_and_both_are_even():
    assert all(mix.box is None for mix in draw_many(50, 0.2, 0))
    assert all(mix.box is not None for mix in draw_many(50, 0, 1))
    boxes = sum(mix.box is not None for mix in draw_many(2000, 0.2, 1))
    assert 900 < boxes < 1100


def test_the_seed_decides():
    assert draw_many(20, 0.5, 1) == draw_many(20, 0.5, 1)
    assert len(set(draw_many(20, 0.5, 1))) == 20


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixups_share_is_beta_distributed(alpha):
    shares = np.array([mix.share for mix in draw_many(4000, alpha, 0)])
    assert abs(shares.mean() - 0.5) < 0.03
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_cutmixs_mean_share_is_what_the_border_leaves():
    # At alpha 1 the box has area u, uniform; of each side r = sqrt(u), on average r - r^2 / 4 is
    # inside the image, so E[1 - share] = E[u - u^1.5 / 2 + u^2 / 16] = 1/2 - 1/5 + 1/48.
    shares = np.array([mix.share for mix in draw_many(4000, 0, 1, (256, 256))])
    assert shares.mean() == pytest.approx(1 - (1 / 2 - 1 / 5 + 1 / 48), abs=0.015)


def test_boxes_reach_every_pixel_about_equally_left_and_right():
    covered = np.zeros((16, 24))
    for mix in draw_many(4000, 0, 1, (16, 24)):
        assert mix.box is not None
        top, left, height, width = mix.box
        covered[top : top + height, left : left + width] += 1
    assert covered.min() > 400
    np.testing.assert_allclose(covered[::-1, ::-1], covered, rtol=0.25)


def test_mixup_by_hand():
    images = np.array([0, 10, 20], np.float32).reshape(3, 1, 1, 1)
    mixed = apply_mix(images, Mix(0.75))
    assert mixed.dtype == np.float32
    np.testing.assert_allclose(mixed.ravel(), [5, 7.5, 17.5])


def test_labels_get_the_shares_of_the_images():
    shares = mix_labels(np.array([2, 0, 0]), Mix(0.75), 3)
    assert shares.dtype == np.float32
    assert shares.tolist() == [[0.25, 0, 0.75], [0.75, 0, 0.25], [1, 0, 0]]


def test_cutmix_by_hand():
    images = np.arange(2, dtype=np.float32).reshape(2, 1, 1, 1) * np.ones((2, 1, 3, 4), np.float32)
    first, second = apply_mix(images, Mix(1 - 2 / 12, (1, 2, 1, 2)))[:, 0]
    assert first.tolist() == [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]
    assert np.array_equal(second, 1 - first)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 33), st.integers(1, 33)),
    alpha=st.sampled_from([0.01, 0.2, 1.0, 30.0]),
    seed=st.integers(0, 999),
)
def test_the_share_is_exactly_the_share_of_pixels(size, alpha, seed):
    rng = np.random.default_rng(seed)
    mix = draw_mix(rng, 0, alpha, size)
    images = np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1) * np.ones((1, 2, *size), np.float32)
    before = images.copy()
    mixed = apply_mix(images, mix)
    assert np.array_equal(images, before)
    assert mixed.shape == images.shape
    own = (mixed == images).mean((1, 2, 3))
    np.testing.assert_allclose(own, mix.share, atol=1e-12)
    assert np.isin(mixed[1], [0, 1]).all()  # the partner is the image before
    assert np.isin(mixed[0], [0, 2]).all()
