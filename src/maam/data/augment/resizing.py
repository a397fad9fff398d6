"""Progressive resizing: the first epochs of a training see smaller images, which take less time.

Howard's fast.ai team trained ImageNet so for DAWNBench in 2018
(https://www.fast.ai/posts/2018-08-10-fastai-diu-imagenet.html).
"""

from __future__ import annotations

from math import prod

import numpy as np

SHARE = 0.75  # of the side; the area is then 0.56 of the whole


def small_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the smaller images: three quarters, to whole multiples of 4."""
    height, width = (max(4, 4 * round(SHARE * side / 4)) for side in size)
    return height, width


def whole_to_small(size: tuple[int, int]) -> float:
    """How many pixels a whole image has for each of a smaller one."""
    return prod(size) / prod(small_size(size))


def resize(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Images of fewer pixels, by linear interpolation with antialiasing.

    Args:
        images: float32 (N, C, H, W).
        size: height and width, not above H and W.

    Returns:
        float32 (N, C, *size).
    """
    rows, columns = (_weights(*sides) for sides in zip(images.shape[2:], size, strict=True))
    return np.ascontiguousarray(rows @ (images @ columns.T))


def _weights(side: int, smaller: int) -> np.ndarray:
    """What each pixel of a row adds to each of a shorter one: float32 (smaller, side)."""
    scale = side / smaller
    centres = (np.arange(smaller) + 0.5) * scale
    distances = np.abs(np.arange(side) + 0.5 - centres[:, None]) / scale
    weights = np.maximum(1 - distances, 0)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
