"""Images, labels and splits: every source gives a ``Dataset``. NumPy and Pillow only."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from maam.core.errors import MaamError
from maam.data.base import ArraySplit, Dataset, Split
from maam.data.sources import SOURCES, register_source, source
from maam.data.splits import hold_out

__all__ = [
    "SOURCES",
    "ArraySplit",
    "Dataset",
    "Split",
    "hold_out",
    "load_dataset",
    "register_source",
]


def load_dataset(
    data: str,
    data_dir: Path | None = None,
    image_size: int | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
    progress: Callable[[int, int | None], None] | None = None,
) -> Dataset:
    """Load a data set by name, or images from a folder or archive by path.

    Args:
        data: ``cifar10``, ``fashion-mnist``, ``digits``, or the path of a folder, an archive or a
            CSV file.
        data_dir: where the named data set lies (else ``MAAM_DATA``, the cache, a download).
        image_size: side in pixels for images from a path; 32 when None.
        val_fraction: part of the training images held out for validation.
        seed: seed of the splits.
        progress: called with (bytes so far, bytes in all or None) during a download.

    Raises:
        MaamError: the data is not there, or is not what it should be.
    """
    dataset = _load(data, data_dir, image_size, val_fraction, seed, progress)
    if len(set(dataset.train.labels.tolist())) < len(dataset.classes):
        raise MaamError(f"`val_fraction={val_fraction}` leaves a class without training images")
    return dataset


def _load(
    data: str,
    data_dir: Path | None,
    image_size: int | None,
    val_fraction: float,
    seed: int,
    progress: Callable[[int, int | None], None] | None,
) -> Dataset:
    if not data:
        raise MaamError(f"no data named: give a folder of images, or one of {', '.join(SOURCES)}")
    if data in SOURCES:
        if image_size is not None:
            raise MaamError(f"`image_size` is for folders of images; {data} has a size of its own")
        dataset = source(data)(data_dir, val_fraction, seed, progress)
        if not os.path.exists(data):
            return dataset
        here = f"{data} is the data set of that name, not the one here: for that give ./{data}"
        return replace(dataset, notes=(*dataset.notes, here))
    from maam.data.files.packs import is_pack
    from maam.data.files.tree import scan
    from maam.data.sources import packed
    from maam.data.streaming import load_tree

    path = Path(os.path.expanduser(data))
    if not path.exists():
        near = get_close_matches(path.name, SOURCES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"name one, or {', '.join(SOURCES)}"
        raise MaamError(f"`data={data}`: no such folder or archive: {hint}")
    if is_pack(path):
        return packed.load(path, image_size, val_fraction, seed)
    return load_tree(scan(path), image_size, val_fraction, seed)
