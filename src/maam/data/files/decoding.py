"""One image file -> upright RGB -> a uint8 array of the network's size.

Training and prediction both come through here, so a model sees the same pixels in both.
"""

from __future__ import annotations

import io
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from maam.core.errors import MaamError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"})


class UnreadableImage(MaamError):
    """An image file that cannot be decoded; ``reason`` says why, without the name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"cannot read image {name!r}: {reason}")
        self.reason = reason


def decode(file: Path | bytes, name: str | None = None) -> Image.Image:
    """The picture in ``file`` (a path, or a file's content) as an upright RGB image.

    The content decides the format, not the suffix. An animation gives its first frame.

    Raises:
        UnreadableImage: the file is missing, empty, damaged, no image, or too large to be one;
            the message calls it ``name``, by default its path.
    """
    return read(file, name)[0]


def read(file: Path | bytes, name: str | None = None) -> tuple[Image.Image, str, str]:
    """``decode``, and the file's format and Pillow mode, e.g. ``("JPEG", "CMYK")``."""
    name = name or ("image" if isinstance(file, bytes) else str(file))
    try:
        _check_file(file)
        with _pillow_quiet(), Image.open(_source(file), formats=FORMATS) as image:
            image.load()
            return to_rgb(image), image.format or "", image.mode
    except Exception as error:  # Pillow's parsers, given hostile bytes, raise nearly anything
        raise UnreadableImage(name, _reason(error)) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """``image`` turned upright as its EXIF block says, in mode RGB.

    Transparent parts show white. 16-bit grey keeps its range: 0..65535 becomes 0..255.
    """
    image = _upright(image)
    if image.mode.startswith("I"):
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        image = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
    elif image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    return image.convert("RGB")


def fit(image: Image.Image, size: tuple[int, int], channels: int) -> np.ndarray:
    """``image`` as a uint8 array (H, W, C), ``size`` = (H, W), ``channels`` = 1 or 3.

    An image of another size is scaled until it covers H x W, and cropped about its centre.
    """
    height, width = size
    image = image if image.mode in ("L", "RGB") else to_rgb(image)
    image = image.convert({1: "L", 3: "RGB"}[channels])
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    return np.array(image, np.uint8).reshape(height, width, channels)


def _source(file: Path | bytes) -> Path | io.BytesIO:
    return io.BytesIO(file) if isinstance(file, bytes) else file


def _check_file(file: Path | bytes) -> None:
    """Refuse what Pillow would name badly, or wait on for ever (a named pipe)."""
    if isinstance(file, bytes):
        size = len(file)
    else:
        status = file.stat()
        size = status.st_size
        if stat.S_ISDIR(status.st_mode):
            raise ValueError("it is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
    if not size:
        raise ValueError("the file is empty")


def _reason(error: Exception) -> str:
    """Why a file cannot be read, on one line."""
    if isinstance(error, UnidentifiedImageError):
        return "not a JPEG, PNG, WebP, BMP or GIF image, or its header is damaged"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"it claims more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _upright(image: Image.Image) -> Image.Image:
    """``ImageOps.exif_transpose``, except that a broken EXIF block leaves the image as it is."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the block's parser, like the image's, may raise anything
        return image


_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_filters = warnings.catch_warnings()


@contextmanager
def _pillow_quiet() -> Iterator[None]:
    """No warning leaves Pillow, and its "too large" warning is an error.

    Warning filters belong to the process, so threads share one change of them: the first in
    makes it, the last out undoes it.
    """
    global _quiet_depth, _quiet_filters
    with _quiet_lock:
        _quiet_depth += 1
        if _quiet_depth == 1:
            _quiet_filters = warnings.catch_warnings()
            _quiet_filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
            warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                _quiet_filters.__exit__(None, None, None)
