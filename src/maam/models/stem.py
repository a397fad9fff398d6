"""MAAMNet's stem for photos: patches of the image become pixels of the trunk's first maps.

The trunk works on maps of at most 32x32 pixels. A larger image first passes a linear convolution
whose kernel and stride are the side of a patch (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929,
embed patches so); the 3x3 convolution and all that follows is the same at every size. So weights go
from one size to another, and a network that begins with weights for small images answers a larger
one at first as if it had been shrunk by averaging.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

LARGEST = 32  # pixels a side of the trunk's first maps
PATCH_CHANNELS = 8

_PATCH, _STEM = "patch.weight", "stem.conv.weight"


def patch_side(image_size: tuple[int, int]) -> int:
    """Pixels a side of a patch, for images (H, W); 1: there are no patches."""
    return -(-max(image_size) // LARGEST)


def adapt_stem(
    fresh: Mapping[str, np.ndarray], trained: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The trained weights with a stem for the image size of the fresh network.

    Args:
        fresh: all tensors of the new network, by name.
        trained: those of the trained one.

    Returns:
        ``trained``, but for ``patch.weight`` and ``stem.conv.weight``. The channels of patches that
        the trained network does not have are those of ``fresh``; the stem gives them weight 0.
    """
    adapted = dict(trained)
    if _STEM not in trained or _STEM not in fresh:
        return adapted
    stem = trained[_STEM].astype(np.float32)
    old, new = trained.get(_PATCH), fresh.get(_PATCH)
    if old is not None and new is not None:
        adapted[_PATCH] = _resample(old.astype(np.float32), new.shape[-1])
    elif old is not None:
        del adapted[_PATCH]
        colours = old.astype(np.float32).sum((2, 3))  # of a patch of one colour
        adapted[_STEM] = np.einsum("opyx,pc->ocyx", stem, colours)
    elif new is not None:
        known = stem.shape[1]
        patch = new.astype(np.float32)
        patch[:known] = _colours(known, new.shape[1])[:, :, None, None] / new.shape[-1] ** 2
        adapted[_PATCH] = patch
        wide = np.zeros((len(stem), len(patch), *stem.shape[2:]), np.float32)
        wide[:, :known] = stem
        adapted[_STEM] = wide
    return adapted


def _colours(trained: int, given: int) -> np.ndarray:
    """How the channels that a network knows follow from those it is given: (trained, given)."""
    return np.eye(given) if trained == given else np.full((trained, given), 1 / given)


def _resample(patch: np.ndarray, side: int) -> np.ndarray:
    """Kernels (P, C, S, S) on a grid of ``side``: the same function of the place, same sums."""
    edges, old_edges = (np.linspace(0, 1, n + 1) for n in (side, patch.shape[-1]))
    first = np.maximum(edges[:-1, None], old_edges[None, :-1])
    last = np.minimum(edges[1:, None], old_edges[None, 1:])
    shares = np.maximum(last - first, 0) * patch.shape[-1]  # (side, S): of an old cell in a new one
    return np.einsum("iy,jx,pcyx->pcij", shares, shares, patch).astype(np.float32)
