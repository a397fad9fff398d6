"""A decoded picture of any mode -> upright RGB -> a uint8 array of the network's size.

A large picture is converted in strips: whole, its transparency or 16 bits would take up to 2 GB.
"""

from __future__ import annotations

import numpy as np
from PIL import ExifTags, Image, ImageOps

_STRIP = 2**20  # pixels that are converted at once
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_rgb(image: Image.Image) -> Image.Image:
    """``image`` turned upright as its EXIF block says, in mode RGB.

    Transparent parts show white. 16-bit grey keeps its range: 0..65535 becomes 0..255.
    """
    return upright(in_rgb(image), orientation(image))


def in_rgb(image: Image.Image, shrink: int = 1) -> Image.Image:
    """``image`` in mode RGB, as it lies, its sides divided by ``shrink``: means of square blocks.

    It may be ``image`` itself.
    """
    width, height = image.size
    if shrink == 1 and (image.mode == "RGB" or width * height <= _STRIP):
        return _strip_in_rgb(image)
    rows = max(1, _STRIP // (width * shrink)) * shrink
    whole = Image.new("RGB", (-(-width // shrink), -(-height // shrink)))
    for top in range(0, height, rows):
        strip = _strip_in_rgb(image.crop((0, top, width, min(top + rows, height))))
        whole.paste(strip if shrink == 1 else strip.reduce(shrink), (0, top // shrink))
    return whole


def _strip_in_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels: save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        image = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
    elif image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def orientation(image: Image.Image) -> int:
    """How a picture lies, as its EXIF block says: 1 to 8; 1, upright, too where that is broken."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the block's parser, like the image's, may raise anything
        return 1


def upright(image: Image.Image, lies: int) -> Image.Image:
    """``image``, which lies as ``orientation`` says, turned upright, and without its metadata."""
    if lies not in _TURNS:
        return image
    turned = image.transpose(_TURNS[lies])
    turned.info = {}  # where EXIF and XMP stand, by which it would be turned once more
    return turned


def fit(image: Image.Image, size: tuple[int, int], channels: int) -> np.ndarray:
    """``image`` as a uint8 array (H, W, C), ``size`` = (H, W), ``channels`` = 1 or 3.

    An image of another size is scaled until it covers H x W, and cropped about its centre.
    """
    height, width = size
    image = image if image.mode in ("L", "RGB") else to_rgb(image)
    mode = {1: "L", 3: "RGB"}[channels]
    image = image if image.mode == mode else image.convert(mode)
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    return np.array(image, np.uint8).reshape(height, width, channels)
