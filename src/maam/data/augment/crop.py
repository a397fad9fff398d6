"""Random shifts and mirroring."""

from __future__ import annotations

import numpy as np


def crop(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pad an eighth of the side (4 at 32 pixels) all round and cut the size back out anywhere.

    The padding mirrors the image at its border pixels, which are not repeated: there is no edge
    that an image without augmentation would not have.

    Args:
        images: uint8 (N, H, W, C); not changed.
        rng: where the randomness comes from.

    Returns:
        uint8, the same shape.
    """
    return _cut(images, rng, mirror=False)


def crop_flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``crop``, and half of the images mirrored left to right."""
    return _cut(images, rng, mirror=True)


def _cut(images: np.ndarray, rng: np.random.Generator, mirror: bool) -> np.ndarray:
    number, height, width, _ = images.shape
    pad = max(1, min(height, width) // 8)
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    # Index (N, H, W) into the padded batch: a row and a column per output pixel.
    top, left = rng.integers(0, 2 * pad + 1, (2, number, 1))
    rows, columns = top + np.arange(height), left + np.arange(width)
    if mirror:
        mirrored = rng.random(number) < 0.5
        columns[mirrored] = columns[mirrored, ::-1]
    return padded[np.arange(number)[:, None, None], rows[:, :, None], columns[:, None, :]]
