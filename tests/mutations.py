"""Files changed at random, with a seed: flipped bits, cuts, splices, headers overwritten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

_NUMBERS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1")


def mutations(seeds: Sequence[bytes], count: int, seed: int = 0) -> Iterator[bytes]:
    """``count`` mutations of the files, one to eight changes in each."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        content = bytearray(seeds[number % len(seeds)])
        for _ in range(int(rng.integers(1, 9))):
            content = _change(content, seeds, rng)
        yield bytes(content)


def _change(content: bytearray, seeds: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    size = len(content)
    if not size:
        return bytearray(rng.bytes(8))
    at = int(rng.integers(size)) if rng.random() < 0.5 else int(rng.integers(min(size, 64)))
    match int(rng.integers(7)):
        case 0 | 1:
            content[at] ^= 1 << int(rng.integers(8))
        case 2:
            content[at : at + 4] = _NUMBERS[int(rng.integers(len(_NUMBERS)))]
        case 3:
            del content[at : at + int(rng.integers(1, 64))]
        case 4:
            content[at:at] = rng.bytes(int(rng.integers(1, 64)))
        case 5:
            other = seeds[int(rng.integers(len(seeds)))]
            start = int(rng.integers(max(1, len(other))))
            content[at : at + 256] = other[start : start + 256]
        case _:
            if rng.random() < 0.3:
                del content[max(1, at) :]
    return content
