"""Bytes as text in a page, as small as may be: unpack.js has the way back."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

AVOIDED = (0, 4, 7, 8, 10, 11, 12, 13, 14, 15, 26, 27, 60, 127)
"""Of the characters of 7 bits: "<", and controls that HTML, editors or terminals take amiss."""


def pack(content: bytes) -> str:
    """Deflated bytes as text that may stand in a ``<script>`` element, 7 bits in a byte of UTF-8.

    The characters are those below 128 but ``AVOIDED``, and from 256 to 2047.
    """
    bits = np.unpackbits(np.frombuffer(_deflated(content), np.uint8))
    bits = np.append(bits, np.zeros(-len(bits) % 7, np.uint8))
    sevens = (bits.reshape(-1, 7) @ (1 << np.arange(6, -1, -1))).tolist()
    return "".join(_characters([*sevens, 0]))


def _characters(sevens: list[int]) -> Iterator[str]:
    """A character for each 7 bits, or for two of them where the first must be avoided; the last 7
    are only to end with.
    """
    place = 0
    while place < len(sevens) - 1:
        value = sevens[place]
        if value in AVOIDED:
            place += 1
            value = (AVOIDED.index(value) + 2 << 7) + sevens[place]
        yield chr(value)
        place += 1


def _deflated(content: bytes) -> bytes:
    """A raw deflate stream (RFC 1951): weights are packed best without matches, code with them."""
    made = []
    for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY):
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, strategy)
        made.append(packer.compress(content) + packer.flush())
    return min(made, key=len)
