"""Images that look the same though their pixels differ: resized, saved again, cropped a little.

Two stages. A perceptual hash of 63 bits finds candidates: the signs, about their median, of the 63
lowest frequencies of a 32x32 thumbnail (Zauner, "Implementation and benchmarking of perceptual
image hash functions", 2010: the DCT hash). Hashes that differ in at most ``DISTANCE`` bits agree in
one of ``DISTANCE + 1`` bands of bits (Norouzi, Punjani and Fleet, "Fast search in Hamming space
with multi-index hashing", CVPR 2012), so only images that share a band are compared. Then the 8x8
thumbnails in colour must correlate to ``CORRELATION`` or more.

Both limits were chosen on 2,062 photos of hands before one background, of whose 2.1 million pairs
195 have a distance of at most 6 and one of these correlates to 0.98, and on 4,000 photos of Tiny
ImageNet, of which none does. Of 1,000 copies of either at half the size or as JPEG of quality 20,
99 % or more are found; of those cropped by 2 % on every side, 96 % and 92 %. Mirrored ones are
not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image

from maam.core.signals import check_signals
from maam.data.duplicates import LISTED, Sample

DISTANCE = 6
CORRELATION = 0.98
MOST_PAIRS = 200_000  # candidates that are looked at; the search then ends
_BANDS, _BAND_BITS = 7, 9  # 63 bits
_FLAT = 10  # grey levels: a thumbnail with a smaller range has nothing to compare
_SIDE, _LOW = 32, 8
_BLOCK = 2**18  # pairs of hashes that are compared at a time
_PART = 2**14  # of candidates whose thumbnails are

_frequencies = np.arange(_LOW)[:, np.newaxis]
_DCT = np.cos(np.pi * (2 * np.arange(_SIDE) + 1) * _frequencies / (2 * _SIDE)).astype(np.float32)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue, ITU-R BT.601
_POWERS = 1 << np.arange(63, dtype=np.uint64)
_POPCOUNT = np.array([number.bit_count() for number in range(2**16)], np.uint8)


class Fingerprint(NamedTuple):
    """What an image looks like: its hash, None if it is flat; a thumbnail, uint8 (8, 8, 3)."""

    hash: int | None
    thumbnail: bytes


def shrink(image: Image.Image) -> np.ndarray:
    """What the fingerprint of an image in mode RGB is made of: uint8 (32, 32, 3)."""
    return np.asarray(
        image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0), np.uint8
    )


def fingerprints(small: np.ndarray) -> list[Fingerprint]:
    """The fingerprints of many images at once, which is faster.

    Args:
        small: uint8 (N, 32, 32, 3), from ``shrink``.
    """
    count = len(small)
    thumbnails = small.reshape(count, 8, 4, 8, 4, 3).mean((2, 4), np.float32)
    rounded = (thumbnails + 0.5).astype(np.uint8)
    grey = small @ _LUMA
    flat = np.ptp(grey.reshape(count, -1), axis=1) < _FLAT
    spectrum = (_DCT @ grey @ _DCT.T).reshape(count, -1)[:, 1:]
    above = spectrum > np.partition(spectrum, 31, axis=1)[:, 31:32]
    hashes = (above * _POWERS).sum(1).tolist()
    return [
        Fingerprint(None if without else value, thumbnail.tobytes())
        for without, value, thumbnail in zip(flat.tolist(), hashes, rounded, strict=True)
    ]


@dataclass(frozen=True)
class NearCopies:
    """Pairs of images that look the same and are not identical.

    Each kind is counted, and the first ``LISTED`` pairs of it are named.

    Attributes:
        leak_count, leaks: of which the two images are in different splits.
        conflict_count, conflicts: in different classes.
        repeat_count, repeats: in the same split and class.
        complete: whether all pairs were found; else there are more than could be compared.
    """

    leak_count: int
    leaks: tuple[tuple[Sample, Sample], ...]
    conflict_count: int
    conflicts: tuple[tuple[Sample, Sample], ...]
    repeat_count: int
    repeats: tuple[tuple[Sample, Sample], ...]
    complete: bool


def find_near_copies(
    samples: Sequence[Sample], digests: Sequence[bytes], prints: Sequence[Fingerprint]
) -> NearCopies:
    """Compare images by what they look like; of identical ones only the first.

    Args:
        samples: the images.
        digests: the same for identical images only.
        prints: their fingerprints.
    """
    first = sorted({digest: i for i, digest in reversed(list(enumerate(digests)))}.values())
    found = find_near_pairs([prints[i] for i in first])
    pairs = [(samples[first[one]], samples[first[other]]) for one, other in found.pairs]
    leaks = [pair for pair in pairs if pair[0].split != pair[1].split]
    conflicts = [pair for pair in pairs if pair[0].label != pair[1].label]
    repeats = [
        (one, other) for one, other in pairs if (one.split, one.label) == (other.split, other.label)
    ]
    return NearCopies(
        len(leaks),
        tuple(leaks[:LISTED]),
        len(conflicts),
        tuple(conflicts[:LISTED]),
        len(repeats),
        tuple(repeats[:LISTED]),
        found.complete,
    )


class NearPairs(NamedTuple):
    """Pairs of positions, int64 (P, 2), each in order; ``complete`` unless there were too many."""

    pairs: np.ndarray
    complete: bool


def find_near_pairs(prints: Sequence[Fingerprint]) -> NearPairs:
    """All pairs of images that look the same, by position in ``prints``."""
    kept = np.array([i for i, each in enumerate(prints) if each.hash is not None], np.int64)
    if len(kept) < 2:
        return NearPairs(np.empty((0, 2), np.int64), True)
    hashes = np.array([prints[i].hash for i in kept], np.uint64)
    thumbnails = np.stack([np.frombuffer(prints[i].thumbnail, np.uint8) for i in kept])
    found: list[np.ndarray] = []
    count, complete = 0, True
    for candidates in _candidates(hashes):
        check_signals()
        looked = candidates[: MOST_PAIRS - count]
        for start in range(0, len(looked), _PART):
            part = looked[start : start + _PART]
            found.append(part[_correlate(thumbnails, part) >= CORRELATION])
        count += len(looked)
        if len(looked) < len(candidates):
            complete = False
            break
    pairs = np.concatenate(found) if found else np.empty((0, 2), np.int64)
    return NearPairs(kept[np.unique(np.sort(pairs, axis=1), axis=0)], complete)


def _candidates(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs of positions, int64 (P, 2), whose hashes, uint64 (N,), differ in few bits.

    A pair comes once, for the first band in which it agrees.
    """
    bands = np.stack(
        [
            (hashes >> np.uint64(_BAND_BITS * band)) & np.uint64(2**_BAND_BITS - 1)
            for band in range(_BANDS)
        ]
    ).astype(np.uint16)
    for band, keys in enumerate(bands):
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=-1, append=-1))
        for start, end in pairwise(starts):
            bucket = order[start:end]
            height = max(1, _BLOCK // len(bucket))
            for first in range(0, len(bucket) - 1, height):
                rows, others = bucket[first : first + height], bucket[first:]
                distances = _distances(hashes[rows], hashes[others])
                one, other = np.nonzero(distances <= DISTANCE)
                later = other > one
                pairs = np.stack([rows[one[later]], others[other[later]]], axis=1)
                earlier = bands[:band, pairs[:, 0]] == bands[:band, pairs[:, 1]]
                yield pairs[~earlier.any(axis=0)]


def _distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Bits in which hashes differ: uint64 (N,), (M,) -> uint8 (N, M)."""
    different = np.bitwise_xor.outer(one, other)
    return _POPCOUNT[different.view(np.uint16).reshape(*different.shape, 4)].sum(2, np.uint8)


def _correlate(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The correlation of the thumbnails, uint8 (N, 192), of each pair: float32 (P,)."""
    one, other = (thumbnails[pairs[:, side]].astype(np.float32) for side in (0, 1))
    one -= one.mean(1, keepdims=True)
    other -= other.mean(1, keepdims=True)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(1) / np.maximum(norms, 1e-6)
