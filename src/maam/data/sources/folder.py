"""The user's own images, from a folder or an archive (``tree`` says how they may lie in it).

A missing test split is made of 20 % of the training images, a missing validation split of
``val_fraction`` of the rest: stratified; the test split does not depend on the seed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from PIL.Image import Image

from maam.core.errors import MaamError
from maam.core.signals import check_signals
from maam.data.base import ArraySplit, Dataset
from maam.data.files import decoding as images
from maam.data.files.tree import ImageFile, Tree, scan
from maam.data.splits import hold_out

DEFAULT_SIZE = 32
TEST_FRACTION = 0.2
TEST_SEED = 0  # runs with different seeds are scored on the same images

_BATCH = 256  # how many files of an archive are in memory at once

Inspect = Callable[[str, Image, str, str], None]


def load(path: Path, image_size: int | None, val_fraction: float, seed: int) -> Dataset:
    """Load the images of a folder or an archive.

    Args:
        path: the folder or archive.
        image_size: side in pixels that every image is fitted to; 32 when None.
        val_fraction: part of the training images held out where there is no validation split.
        seed: seed of the splits.

    Returns:
        RGB images (N, S, S, 3). Files that cannot be read are named in ``skipped``.

    Raises:
        MaamError: as ``tree.scan``; or a class has too few readable images to split.
    """
    return read_tree(scan(path), image_size, val_fraction, seed)


def read_tree(
    tree: Tree,
    image_size: int | None,
    val_fraction: float,
    seed: int,
    inspect: Inspect | None = None,
) -> Dataset:
    """``load`` for a tree that is scanned already.

    Args:
        inspect: called for every image with its name, the decoded image before it is fitted, and
            the format and mode it is stored in; from several threads.
    """
    side = image_size or DEFAULT_SIZE

    def decode(work: tuple[ImageFile, Path | bytes]) -> np.ndarray | str:
        """The array of one file, or the reason why there is none."""
        file, content = work
        try:
            image, form, mode = images.read(content, file.name)
        except images.UnreadableImage as error:
            return error.reason
        if inspect:
            inspect(file.name, image, form, mode)
        return images.fit(image, (side, side), 3)

    results: dict[ImageFile, np.ndarray | str] = {}
    contents = tree.contents()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while batch := list(islice(contents, _BATCH)):
            check_signals()
            results.update(zip((file for file, _ in batch), pool.map(decode, batch), strict=True))

    arrays = {file: a for file in tree.files if isinstance(a := results[file], np.ndarray)}
    reasons = {file: r for file in tree.files if isinstance(r := results[file], str)}
    return _assemble(tree, arrays, reasons, val_fraction, seed)


def _assemble(
    tree: Tree,
    arrays: dict[ImageFile, np.ndarray],
    reasons: dict[ImageFile, str],
    val_fraction: float,
    seed: int,
) -> Dataset:
    """The data set of the decoded images, with the splits that the tree lacks made."""
    given = {file.split for file in tree.files}
    make_val, make_test = "val" not in given and val_fraction > 0, "test" not in given
    _check_counts(tree, arrays, reasons, 1 + make_val + make_test)

    whole = ArraySplit(
        np.stack(list(arrays.values())),
        np.array([tree.classes.index(file.label) for file in arrays], np.int32),
        tuple(file.name for file in arrays),
    )
    splits = np.array([file.split for file in arrays])
    train, val, test = (whole.take(np.flatnonzero(splits == s)) for s in ("train", "val", "test"))
    if make_test:
        train, test = hold_out(train, TEST_FRACTION, TEST_SEED)
    if make_val:
        train, val = hold_out(train, val_fraction, seed)
    if lost := set(range(len(tree.classes))) - set(train.labels.tolist()):
        raise MaamError(
            f"`val_fraction={val_fraction}`: no training image of class "
            f"{tree.classes[min(lost)]!r} is left in {tree.path}; hold out less"
        )
    return Dataset(
        name=tree.path.resolve().name,
        source=f"images in {tree.path}",
        classes=tree.classes,
        train=train,
        val=val,
        test=test,
        augment="crop-flip",
        skipped=tuple((file.name, reason) for file, reason in reasons.items()),
    )


def _check_counts(
    tree: Tree,
    arrays: dict[ImageFile, np.ndarray],
    reasons: dict[ImageFile, str],
    needed: int,
) -> None:
    """Refuse a tree in which a class has fewer readable training images than ``needed``."""
    counts = Counter(file.label for file in arrays if file.split == "train")
    few = [label for label in tree.classes if counts[label] < needed]
    if not few:
        return
    listed = ", ".join(f"{label!r} ({counts[label]})" for label in few)
    broken = next((f"; {f.name}: {why}" for f, why in reasons.items() if f.label in few), "")
    raise MaamError(
        f"too few readable training images in {tree.path} of class {listed}: {needed} or more are "
        f"needed for the train, val and test splits{broken}"
    )
