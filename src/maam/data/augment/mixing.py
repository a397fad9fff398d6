"""Mixup and CutMix: every image of a batch is mixed with its neighbour.

Mixup: Zhang et al., ICLR 2018, arXiv 1710.09412. CutMix: Yun et al., ICCV 2019, arXiv 1905.04899.
Both draw once per batch, as the authors' code does. The partner of image i is image i - 1: the
batch comes in random order, so the neighbour is a random one. The loss to minimise is
``share * loss(labels) + (1 - share) * loss(labels rolled by 1)``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Mix(NamedTuple):
    """How one batch is mixed.

    Attributes:
        share: the weight of an image's own label, in [0, 1]; with a box, exactly the share of
            pixels outside it.
        box: (top, left, height, width) in pixels, cut out of the partner; None: blend the images.
    """

    share: float
    box: tuple[int, int, int, int] | None = None


def draw_mix(rng: np.random.Generator, mixup: float, cutmix: float, size: tuple[int, int]) -> Mix:
    """Draw the numbers for one batch.

    Args:
        rng: where the randomness comes from.
        mixup: alpha, the share's distribution being Beta(alpha, alpha); 0: no mixup.
        cutmix: the same for CutMix. If both are above 0, each batch gets one of them, even odds;
            if both are 0, the batch stays as it is (share 1).
        size: (H, W) of the images.
    """
    if mixup <= 0 and cutmix <= 0:
        return Mix(1.0)
    with_box = cutmix > 0 and (mixup <= 0 or rng.random() < 0.5)
    alpha = cutmix if with_box else mixup
    share = float(rng.beta(alpha, alpha))
    return _draw_box(rng, share, size) if with_box else Mix(share)


def apply_mix(images: np.ndarray, mix: Mix) -> np.ndarray:
    """Mix each image with the one before it.

    Args:
        images: float32 (N, C, H, W); not changed.
        mix: from ``draw_mix``, for this size.

    Returns:
        float32 (N, C, H, W).
    """
    if mix.share == 1:
        return images
    partners = np.roll(images, 1, axis=0)
    if mix.box is None:
        return mix.share * images + (1 - mix.share) * partners
    top, left, height, width = mix.box
    inside = (..., slice(top, top + height), slice(left, left + width))
    mixed = images.copy()
    mixed[inside] = partners[inside]
    return mixed


def mix_labels(labels: np.ndarray, mix: Mix, num_classes: int) -> np.ndarray:
    """The share of every class in the mixed images: integers (N,) -> float32 (N, num_classes)."""
    own = np.eye(num_classes, dtype=np.float32)[labels]
    share = np.float32(mix.share)
    return share * own + (1 - share) * np.roll(own, 1, axis=0)


def _draw_box(rng: np.random.Generator, share: float, size: tuple[int, int]) -> Mix:
    """CutMix, equation 2: a box of ``1 - share`` of the area about a random pixel, cut off at the
    image's border as in the authors' code; the share follows from what is left of it."""
    edges = []
    for side in size:
        length = int(side * np.sqrt(1 - share))
        start = int(rng.integers(side)) - length // 2
        edges.append((max(start, 0), min(start + length, side)))
    (top, bottom), (left, right) = edges
    height, width = bottom - top, right - left
    return Mix(1 - height * width / (size[0] * size[1]), (top, left, height, width))
