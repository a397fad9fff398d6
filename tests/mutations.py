"""Files changed at random, with a seed: flipped bits, cuts, splices, headers overwritten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

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


_VALUES = (None, True, 0, -1, 2**31, 2**70, 1e308, float("nan"), "", "x", "\0", "9", [], [0], {})


def mutate_json(value: Any, rng: np.random.Generator) -> Any:
    """A JSON value with one part of it changed, left out, doubled or nested."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = list(value)[int(rng.integers(len(value)))]
        match int(rng.integers(12)):
            case 0:
                return {other: each for other, each in value.items() if other != key}
            case 1:
                return {**value, "unknown": value[key]}
            case _:
                return {**value, key: mutate_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = int(rng.integers(len(value)))
        match int(rng.integers(12)):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value[: at + 1] + value[at:]
            case _:
                return [*value[:at], mutate_json(value[at], rng), *value[at + 1 :]]
    if isinstance(value, int) and rng.random() < 0.4:
        return value + int(rng.integers(-2, 3))
    return _VALUES[int(rng.integers(len(_VALUES)))]
