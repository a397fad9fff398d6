"""Maps as pictures: heat over a photo, and maps side by side on one scale."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

Part = tuple[float, float, float, float]
"""Left, top, right, bottom, as parts of width and height."""

WHOLE: Part = (0.0, 0.0, 1.0, 1.0)

# From nothing to the most: anchors of the colour map "inferno" of Matplotlib.
_INFERNO = np.array(
    [
        (0, 0, 4),
        (51, 10, 95),
        (120, 28, 109),
        (187, 55, 84),
        (237, 105, 37),
        (252, 181, 25),
        (252, 255, 164),
    ],
    np.float32,
)
_STRENGTH = 0.75  # of the hottest place: so much heat, and the rest photo


def colours(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 1, any shape, as colours: uint8 (..., 3)."""
    place = np.clip(values, 0, 1) * (len(_INFERNO) - 1)
    low = np.minimum(place.astype(int), len(_INFERNO) - 2)
    share = (place - low)[..., None]
    return ((1 - share) * _INFERNO[low] + share * _INFERNO[low + 1]).round().astype(np.uint8)


def heat(picture: Image.Image, evidence: np.ndarray, part: Part = WHOLE) -> Image.Image:
    """A photo in grey, and over it the evidence for a class: the more, the brighter the colour.

    Args:
        picture: any size.
        evidence: (h, w); what is not positive has no colour.
        part: where in the picture the evidence lies; the rest, which the network has not seen, is
            pale.
    """
    width, height = picture.size
    left, top, right, bottom = (
        round(share * side) for share, side in zip(part, (width, height) * 2, strict=True)
    )
    box = (left, top, max(right, left + 1), max(bottom, top + 1))
    inside = (box[2] - box[0], box[3] - box[1])
    grey = np.asarray(ImageOps.grayscale(picture).convert("RGB"), np.float32)
    shown = 0.35 * grey + 0.65 * 235  # pale
    seen = grey[box[1] : box[3], box[0] : box[2]]
    most = float(evidence.max())
    scaled = np.maximum(evidence, 0) / most if most > 0 else np.zeros_like(evidence)
    spread = enlarge(scaled, inside)
    alpha = _STRENGTH * spread[..., None]
    shown[box[1] : box[3], box[0] : box[2]] = (1 - alpha) * seen + alpha * colours(
        0.25 + 0.75 * spread
    )
    return Image.fromarray(shown.round().astype(np.uint8))


def enlarge(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values (h, w) from 0 to 1, smoothly, as (height, width) of ``size`` = (width, height)."""
    smooth = Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    return np.clip(np.asarray(smooth), 0, 1)


def maps_as_pictures(maps: np.ndarray, side: int) -> list[Image.Image]:
    """Maps (A, h, w), not negative, on one scale of colours; crisp pixels, ``side`` a side."""
    most = float(maps.max()) or 1.0
    height, width = maps.shape[1:]
    factor = max(1, side // max(height, width))
    return [
        Image.fromarray(colours(each / most)).resize(
            (width * factor, height * factor), Image.Resampling.NEAREST
        )
        for each in maps
    ]


def crisp(pixels: np.ndarray, side: int) -> Image.Image:
    """What a network sees, uint8 (H, W, C), enlarged in crisp pixels to about ``side`` pixels."""
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
    factor = max(1, side // max(image.size))
    size = (image.width * factor, image.height * factor)
    return image.convert("RGB").resize(size, Image.Resampling.NEAREST)
