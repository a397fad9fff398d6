"""A quick look at images that lie in a folder or archive, before any is decoded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median_low

from PIL import Image

from maam.data.files.tree import Tree

SAMPLE = 200


def typical_side(tree: Tree) -> int | None:
    """Median of the shorter sides, in pixels, of up to ``SAMPLE`` images; None: none opens."""
    sides = []
    for content in _some(tree):
        try:
            with Image.open(content if isinstance(content, Path) else io.BytesIO(content)) as image:
                sides.append(min(image.size))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # the loader names it
    return median_low(sides) if sides else None


def _some(tree: Tree) -> Iterator[Path | bytes]:
    """Of a folder, images from all over it; of an archive, its first ones."""
    if tree.path.is_dir():
        step = -(-len(tree.files) // SAMPLE)
        yield from (Path(file.name) for file in tree.files[::step])
    else:
        yield from (content for _, content in islice(tree.contents(), SAMPLE))
