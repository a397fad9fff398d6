"""The pixels of all images of a tree, in one array: nearly all the memory that loading needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from maam.core.signals import check_signals
from maam.data.base import ArraySplit
from maam.data.files import conversion, decoding
from maam.data.files.tree import ImageFile, Tree

_BATCH = 512  # how many files are handed to threads together
_PART = 16  # how many of them a thread takes at once

T = TypeVar("T")


@dataclass(frozen=True)
class Decoded:
    """The images of a tree.

    Attributes:
        pixels: uint8 (N, H, W, C), a row for every file of the tree, in its order.
        files: those that could be read.
        rows: where their pixels lie.
        reasons: why the others could not.
        notes: what a person should know.
    """

    pixels: np.ndarray
    files: list[ImageFile]
    rows: np.ndarray
    reasons: dict[ImageFile, str]
    notes: tuple[str, ...]

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        return tuple((file.name, reason) for file, reason in self.reasons.items())

    def sorted(self, order: np.ndarray, classes: Sequence[str]) -> ArraySplit:
        """The images that could be read, in another order. Their pixels move, and are not copied:
        they are nearly all the memory that is needed.

        Args:
            order: positions in ``files``, each once.
            classes: in label order.
        """
        rows = self.rows[order]
        others = np.setdiff1d(np.arange(len(self.pixels)), rows, assume_unique=True)
        permute(self.pixels, np.concatenate([rows, others]))
        number = {name: label for label, name in enumerate(classes)}
        files = [self.files[position] for position in order]
        return ArraySplit(
            self.pixels[: len(rows)],
            np.array([number[file.label] for file in files], np.int32),
            tuple(file.name for file in files),
        )


def permute(rows: np.ndarray, order: np.ndarray) -> None:
    """Make ``rows`` what ``rows[order]`` is, with one row more in memory.

    Args:
        rows: (N, ...).
        order: a permutation of 0..N-1.
    """
    source, moved = order.tolist(), np.zeros(len(order), bool)
    for first in range(len(source)):
        if moved[first] or source[first] == first:
            continue
        held, place = rows[first].copy(), first
        while source[place] != first:
            rows[place] = rows[source[place]]
            moved[place] = True
            place = source[place]
        rows[place] = held
        moved[place] = True


def map_files(
    tree: Tree, work: Callable[[ImageFile, Path | bytes], T]
) -> Iterator[tuple[ImageFile, T]]:
    """What a function makes of each file of a tree, in threads.

    Args:
        tree: what a folder or archive holds.
        work: takes a file and its path or content.

    Raises:
        MaamError: an archive is damaged.
    """

    def of_part(part: list[tuple[ImageFile, Path | bytes]]) -> list[tuple[ImageFile, T]]:
        return [(file, work(file, content)) for file, content in part]

    with decoding.pillow_quiet(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in tree.batches(_BATCH):
            parts = [batch[start : start + _PART] for start in range(0, len(batch), _PART)]
            for part in pool.map(of_part, parts):
                check_signals()
                yield from part


def decode_tree(tree: Tree, shape: tuple[int, int, int]) -> Decoded:
    """Decode all images of a tree, in threads, into one array.

    Args:
        tree: what a folder or archive holds.
        shape: (H, W, C) that every image is fitted to.

    Raises:
        MaamError: an archive is damaged.
    """
    number = {file: index for index, file in enumerate(tree.files)}
    pixels = np.empty((len(number), *shape), np.uint8)
    reasons: dict[ImageFile, str] = {}
    several: list[str] = []

    def decode(file: ImageFile, content: Path | bytes) -> None:
        """Fill in the pixels of a file, or the reason why there are none."""
        try:
            picture = decoding.read(content, file.name, shape[:2])
        except decoding.UnreadableImage as error:
            reasons[file] = error.reason
            return
        if picture.several:
            several.append(file.name)
        pixels[number[file]] = conversion.fit(picture.image, shape[:2], shape[2])

    for _ in map_files(tree, decode):
        pass
    reasons = {file: reasons[file] for file in tree.files if file in reasons}  # in their order
    notes = (*tree.notes, *decoding.first_ones_note(several))
    rows = [row for file, row in number.items() if file not in reasons]
    files = [tree.files[row] for row in rows]
    return Decoded(pixels, files, np.array(rows, np.int64), reasons, notes)
