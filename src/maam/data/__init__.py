"""Data sources: one file a source, all giving a ``Dataset`` of uint8 images in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from maam.config import SOURCES
from maam.data.base import Dataset, Split
from maam.errors import MaamError

__all__ = ["SOURCES", "Dataset", "Split", "load_dataset"]


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
        data: ``cifar10``, ``fashion-mnist``, ``digits``, or a path.
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
        raise MaamError(f"--val-fraction {val_fraction} leaves a class without training images")
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
    if data in SOURCES and image_size is not None:
        raise MaamError(f"--image-size is for folders of images; {data} has a size of its own")
    if data == "cifar10":
        from maam.data import cifar10

        return cifar10.load(data_dir, val_fraction, seed, progress)
    if data == "fashion-mnist":
        from maam.data import fashion_mnist

        return fashion_mnist.load(data_dir, val_fraction, seed, progress)
    if data == "digits":
        from maam.data import digits

        return digits.load(val_fraction, seed)
    from maam.data import folder

    path = Path(os.path.expanduser(data))
    if not path.exists():
        near = get_close_matches(path.name, SOURCES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"name one, or {', '.join(SOURCES)}"
        raise MaamError(f"--data {data}: no such folder or archive: {hint}")
    return folder.load(path, image_size, val_fraction, seed)
