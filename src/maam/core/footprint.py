"""Bytes on a microcontroller: what a network needs, and what there is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from maam.core.errors import MaamError

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_SIZE = re.compile(r"([0-9]{1,12})([kmg]?)", re.IGNORECASE)


@dataclass(frozen=True)
class Footprint:
    """What a network needs as C.

    Attributes:
        flash: bytes of code and constants.
        ram: bytes of the arena, of other variables and of the stack.
    """

    flash: int
    ram: int

    def __str__(self) -> str:
        return f"{kib(self.ram)} of RAM and {kib(self.flash)} of flash"


@dataclass(frozen=True)
class Limits:
    """What a microcontroller has: bytes; None: as much as is needed.

    Attributes:
        flash: for the network, its kernels and the program.
        ram: likewise.
    """

    flash: int | None
    ram: int | None

    def hold(self, need: Footprint) -> bool:
        """Whether a network fits."""
        pairs = ((need.flash, self.flash), (need.ram, self.ram))
        return all(limit is None or size <= limit for size, limit in pairs)

    def __str__(self) -> str:
        parts = ((self.ram, "RAM"), (self.flash, "flash"))
        return " and ".join(f"{kib(size)} of {what}" for size, what in parts if size is not None)


def parse_size(option: str, value: int | str | None) -> int | None:
    """Bytes, of a number or a text such as ``64k`` (1,024 bytes each) or ``1M``.

    Args:
        option: its name, for the error.
        value: as it is given.

    Raises:
        MaamError: it is neither, or 0.
    """
    if value is None:
        return None
    match = _SIZE.fullmatch(str(value).strip())
    size = int(match[1]) * _UNITS[match[2].lower()] if match else 0
    if size < 1:
        raise MaamError(f"`{option}={value}` is no size: give bytes, such as 65536, 64k or 1M")
    return size


def kib(size: int) -> str:
    """Bytes in KiB, rounded up to a tenth, so that nothing seems to fit that does not."""
    return f"{-(-size * 10 // 1024) / 10:,.1f}".removesuffix(".0") + " KiB"
