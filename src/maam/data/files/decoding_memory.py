"""Threads that decode share a budget of pixels: large images wait for one another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

# Bytes that decoders need for each pixel, divided by 8. A WebP decoder holds a picture four times.
_WEIGHTS = {"WEBP": 2, "AVIF": 2, "HEIF": 2}
_PIXELS = 89_478_485  # Pillow's limit, above which it warns: 680 MiB at 8 bytes each

_changed = threading.Condition()
_taken = 0


class TooManyPixels(ValueError):
    """An image that its decoder would need too much memory for."""


@contextmanager
def held(image: Image.Image, whole: int) -> Iterator[None]:
    """Wait until there is memory for an image that is opened, and hold it.

    Args:
        image: as it will be decoded.
        whole: pixels of its file.

    Raises:
        TooManyPixels: there is never enough.
    """
    global _taken
    weight = _WEIGHTS.get(image.format or "", 1)
    if whole * weight > _PIXELS:
        raise TooManyPixels(f"it claims more than {_PIXELS // weight:,} pixels")
    # A progressive JPEG is decoded whole, whatever the size asked for.
    needed = whole if image.info.get("progressive") else image.width * image.height
    needed *= weight
    with _changed:
        _changed.wait_for(lambda: not _taken or _taken + needed <= _PIXELS)
        _taken += needed
    try:
        yield
    finally:
        with _changed:
            _taken -= needed
            _changed.notify_all()
