"""A quick look at images that lie in a folder or archive, before any is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median_low

from maam.data.files.decoding import UnreadableImage, size_of
from maam.data.files.tree import Tree

SAMPLE = 200
SIZES = ((48, 32),)  # shorter sides below the first -> the side to train at
LARGEST_SIZE = 64


def suited_size(short_side: int) -> int:
    """The side in pixels that images with this median of their shorter sides are trained at."""
    return next((size for limit, size in SIZES if short_side < limit), LARGEST_SIZE)


def typical_side(tree: Tree) -> int | None:
    """Median of the shorter sides, in pixels, of up to ``SAMPLE`` images; None: none opens."""
    sides = []
    for content in _some(tree):
        try:
            sides.append(min(size_of(content)))
        except UnreadableImage:
            continue  # the loader names it
    return median_low(sides) if sides else None


def _some(tree: Tree) -> Iterator[Path | bytes]:
    """Of a folder or table, images from all over it; of an archive, its first ones."""
    step = 1 if tree.is_archive else max(1, -(-len(tree.files) // SAMPLE))
    yield from (content for _, content in islice(tree.contents(), 0, SAMPLE * step, step))
