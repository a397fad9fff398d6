"""Smaller images of the first epochs: their size, their pixels, and the same in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maam.data.augment.resizing import resize, small_size
from maam.torch.augment import resize as torch_resize


@given(st.integers(8, 512), st.integers(8, 512))
def test_three_quarters_in_multiples_of_four(height, width):
    for side, small in zip((height, width), small_size((height, width)), strict=True):
        assert small % 4 == 0 and 4 <= small <= side and abs(small - 0.75 * side) <= 2


def test_known_sizes():
    assert small_size((32, 32)) == (24, 24)
    assert small_size((96, 28)) == (72, 20)


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (1, 1, 28, 64)])
def test_both_frameworks_shrink_alike(rng, shape):
    images = rng.standard_normal(shape).astype(np.float32)
    small = resize(images, small_size(shape[2:]))
    assert small.shape == (*shape[:2], *small_size(shape[2:])) and small.dtype == np.float32
    other = torch_resize(torch.from_numpy(images), small_size(shape[2:]))
    np.testing.assert_allclose(small, other.numpy(), atol=1e-5)


def test_one_colour_and_a_slope_stay_what_they_are():
    rows, columns = np.meshgrid(np.arange(32.0), np.arange(32.0), indexing="ij")
    images = np.stack([np.full((32, 32), 0.3), rows, columns])[None].astype(np.float32)
    flat, down, right = resize(images, (24, 24))[0]
    np.testing.assert_allclose(flat, 0.3, atol=1e-6)
    expected = (np.arange(24) + 0.5) * 32 / 24 - 0.5
    np.testing.assert_allclose(down[2:-2, 5], expected[2:-2], atol=0.1)
    np.testing.assert_allclose(right.T, down, atol=1e-5)
