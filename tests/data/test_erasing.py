"""Random erasing: which rectangles are drawn, and what becomes of the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maam.data.augment import Augmentation, augment
from maam.data.augment.erasing import draw_boxes, erase


def sides(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 99))
def test_rectangles_lie_inside_the_image(height, width, share, seed):
    boxes = draw_boxes(np.random.default_rng(seed), 20, (height, width), share)
    assert (boxes >= 0).all() and (boxes[:, :2] <= height).all() and (boxes[:, 2:] <= width).all()
    assert all((side >= 0).all() for side in sides(boxes))


def test_areas_ratios_and_shares_are_those_of_the_paper(rng):
    boxes = draw_boxes(rng, 4000, (1000, 1000), 0.25)
    tall, wide = sides(boxes)
    erased = tall > 0
    assert erased.mean() == pytest.approx(0.25, abs=0.02) and np.array_equal(erased, wide > 0)
    area = tall[erased] * wide[erased] / 1e6
    assert 0.0199 < area.min() < 0.025 and 0.3 < area.max() < 0.331
    ratio = np.log(tall[erased] / wide[erased])
    assert abs(ratio.mean()) < 0.06 and ratio.min() > np.log(0.298) and ratio.max() < np.log(3.32)


def test_every_pixel_is_erased_at_times(rng):
    boxes = draw_boxes(rng, 3000, (8, 8), 1.0)
    black = erase(np.ones((3000, 8, 8, 1), np.uint8), boxes) == 0
    assert black.mean((0, 3)).min() > 0.02


def test_a_rectangle_is_black_and_the_rest_as_it_was(rng):
    images = rng.integers(1, 256, (2, 6, 5, 3)).astype(np.uint8)
    before = images.copy()
    changed = erase(images, np.array([[1, 3, 0, 5], [2, 2, 0, 0]]))
    assert np.array_equal(images, before) and changed.dtype == np.uint8
    assert not changed[0, 1:3].any()
    assert np.array_equal(changed[0, [0, 3, 4, 5]], images[0, [0, 3, 4, 5]])
    assert np.array_equal(changed[1], images[1])


def test_erasing_comes_after_the_kind_of_augmentation(rng):
    images = np.full((200, 16, 16, 3), 255, np.uint8)
    assert augment(images, Augmentation("crop-flip"), rng).all()
    changed = augment(images, Augmentation("crop-flip", erase=0.5), rng)
    assert 60 < (changed == 0).any((1, 2, 3)).sum() < 140
