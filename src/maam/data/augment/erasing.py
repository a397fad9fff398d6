"""Random erasing: a rectangle of an image becomes black (Zhong et al. 2020, arXiv 1708.04896).

As torchvision's ``RandomErasing`` draws it: an area of 2 to 33 % of the image, and sides in a ratio
of 0.3 to 3.3, uniform on a logarithmic scale. A rectangle that does not fit is cut to the image.
"""

from __future__ import annotations

import numpy as np

AREA, RATIO = (0.02, 0.33), (0.3, 3.3)


def draw_boxes(
    rng: np.random.Generator, number: int, size: tuple[int, int], share: float
) -> np.ndarray:
    """A rectangle for each image of a batch.

    Args:
        rng: where the randomness comes from.
        number: of images, N.
        size: (H, W) of the images.
        share: of the images that lose one, at random; the rectangles of others are empty.

    Returns:
        int64 (N, 4): first row, row after the last, first column, column after the last.
    """
    area = rng.uniform(*AREA, number) * size[0] * size[1] * (rng.random(number) < share)
    ratio = np.exp(rng.uniform(np.log(RATIO[0]), np.log(RATIO[1]), number))
    edges = []
    for side, length in zip(size, (np.sqrt(area * ratio), np.sqrt(area / ratio)), strict=True):
        whole = np.minimum(length.round().astype(int), side)
        first = rng.integers(0, side - whole + 1)
        edges += [first, first + whole]
    return np.stack(edges, 1)


def erase(images: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Make rectangles of images black.

    Args:
        images: uint8 (N, H, W, C); not changed.
        boxes: from ``draw_boxes``, for this size.

    Returns:
        uint8, the same shape.
    """
    top, bottom, left, right = boxes.T[:, :, None]
    rows, columns = np.arange(images.shape[1]), np.arange(images.shape[2])
    tall, wide = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return images * ~(tall[:, :, None] & wide[:, None, :])[..., None]
