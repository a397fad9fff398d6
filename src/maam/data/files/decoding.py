"""One image file -> upright RGB, which ``conversion`` fits to the network's size.

Training and prediction both come through here, so a model sees the same pixels in both.
"""

from __future__ import annotations

import io
import stat
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError, features

from maam.core.errors import MaamError
from maam.data.files.conversion import in_rgb, orientation, upright
from maam.data.files.decoding_memory import held

# Suffixes by Pillow's name of the format. The content decides the format, not the suffix.
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jfif", ".jpe"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif"),
}
_PLUGINS = {"WEBP": "WebP"}  # where Pillow's module is not called as the format
_WORDS = {"WEBP": "WebP", "HEIF": "HEIC"}
# AVIF comes with Pillow 11.3, HEIC with the package pillow-heif.
_HAS_AVIF = "avif" in features.modules and features.check("avif")
_HAS_HEIF = find_spec("pillow_heif") is not None
FORMATS = tuple(
    name for name in _SUFFIXES if {"AVIF": _HAS_AVIF, "HEIF": _HAS_HEIF}.get(name, True)
)
SUFFIXES = frozenset(suffix for name in FORMATS for suffix in _SUFFIXES[name])
_SHRUNK_SIDES = 2  # a JPEG that is decoded smaller keeps so many times the sides it is fitted to
_LARGE = 2**24  # pixels above which other images are made smaller before they are fitted, likewise


_NEEDS = {"AVIF": "pip install 'pillow>=11.3'", "HEIF": "pip install pillow-heif"}


def missing(suffix: str) -> str | None:
    """How to get a format that can't be read here, by a suffix in small letters."""
    formats = (name for name in _NEEDS if name not in FORMATS and suffix in _SUFFIXES[name])
    return next((_NEEDS[name] for name in formats), None)


class UnreadableImage(MaamError):
    """An image file that cannot be decoded; ``reason`` says why, without the name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"cannot read image {name!r}: {reason}")
        self.reason = reason


class Picture(NamedTuple):
    """A decoded image file.

    Attributes:
        image: upright, RGB.
        form, mode: of the file, in Pillow's words, e.g. ``"JPEG"``, ``"CMYK"``.
        several: whether the file has more pages or frames, after this first one.
    """

    image: Image.Image
    form: str
    mode: str
    several: bool


def decode(
    file: Path | bytes, name: str | None = None, size: tuple[int, int] | None = None
) -> Image.Image:
    """The picture in ``file`` (a path, or a file's content) as an upright RGB image.

    The content decides the format, not the suffix. Of several frames or pages it is the first.

    Args:
        file: a path, or a file's content.
        name: for messages, by default the path.
        size: (H, W) that the image will be fitted to, if that is known. A JPEG of four times these
            sides or more is then decoded at a half, a quarter or an eighth of its own, at twice
            these sides or more, which is faster. Fitted, its pixels differ by less
            than 1 in 255 on average. So are other images of more than 16 megapixels.

    Raises:
        UnreadableImage: the file is missing, empty, damaged, no image, or too large to be one.
    """
    return read(file, name, size).image


def read(
    file: Path | bytes, name: str | None = None, size: tuple[int, int] | None = None
) -> Picture:
    """``decode``, and what the file is."""
    with reading(file, name, size) as picture:
        return picture


@contextmanager
def reading(
    file: Path | bytes, name: str | None = None, size: tuple[int, int] | None = None
) -> Iterator[Picture]:
    """``read``, for threads that use large pictures one after another: while one does, those that
    would need too much memory beside it wait.
    """
    name = name or ("image" if isinstance(file, bytes) else str(file))
    with ExitStack() as stack:
        try:
            picture = _read(file, size, stack)
        except Exception as error:  # Pillow's parsers, given hostile bytes, raise nearly anything
            raise UnreadableImage(name, _reason(error, name)) from error
        yield picture


def _read(file: Path | bytes, size: tuple[int, int] | None, stack: ExitStack) -> Picture:
    _check_file(file)
    with pillow_quiet(), Image.open(_source(file), formats=_formats()) as image:
        pixels = image.width * image.height
        if size:
            side = _SHRUNK_SIDES * max(size)
            image.draft(None, (side, side))  # which only a JPEG heeds
        stack.enter_context(held(image, pixels))
        image.load()
        form, mode, lies = image.format or "", image.mode, orientation(image)
        large = size and image.width * image.height > _LARGE
        picture = in_rgb(image, max(1, min(image.size) // side) if large else 1)
        several = _has_several(image)
        if picture is not image:
            image.close()  # its pixels are let go before others are made
    return Picture(upright(picture, lies), form, mode, several)


def size_of(file: Path | bytes) -> tuple[int, int]:
    """(W, H) of an image as it lies in its file, which is not decoded.

    Raises:
        UnreadableImage: the file is missing, empty, no image, or too large to be one.
    """
    try:
        _check_file(file)
        with pillow_quiet(), Image.open(_source(file), formats=_formats()) as image:
            return image.size
    except Exception as error:  # as in ``read``
        name = "image" if isinstance(file, bytes) else str(file)
        raise UnreadableImage(name, _reason(error, name)) from error


def _has_several(image: Image.Image) -> bool:
    if image.format == "MPO":  # a photo with a preview of itself, as phones make them
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # there is something after the first frame, and it is damaged
        return True


def first_ones_note(several: Sequence[str]) -> list[str]:
    """What to say of files that have several pages or frames, if there are any."""
    if not several:
        return []
    return [
        f"files of several pages or frames: {len(several)}, such as {min(several)}: the first one "
        "is used"
    ]


@cache
def _formats() -> tuple[str, ...]:
    """``FORMATS``, whose readers are then loaded: Pillow would load those of all formats."""
    for name in FORMATS:
        if name != "HEIF":
            import_module(f"PIL.{_PLUGINS.get(name, name.title())}ImagePlugin")
    if _HAS_HEIF:
        import_module("pillow_heif").register_heif_opener()
    return FORMATS


def readable_formats() -> str:
    """The formats that can be read here, in words."""
    *first, last = (_WORDS.get(name, name) for name in FORMATS)
    return f"{', '.join(first)} or {last}"


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


def _reason(error: Exception, name: str) -> str:
    """Why a file cannot be read, on one line."""
    if isinstance(error, UnidentifiedImageError):
        suffix = Path(name).suffix.lower()
        hint = f"; for {suffix}: {needed}" if (needed := missing(suffix)) else ""
        return f"not a {readable_formats()} image, or its header is damaged{hint}"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"it claims more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"it is damaged ({reason})" if reason.startswith("decoder error") else reason


_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_filters = warnings.catch_warnings()


@contextmanager
def pillow_quiet() -> Iterator[None]:
    """No warning leaves Pillow, and its "too large" warning is an error. Open once for many images,
    it costs less.

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
