"""The user's own images, from a folder, an archive or a CSV file (``tree`` says how they may lie).

A missing test split is made of 20 % of the training images, a missing validation split of
``val_fraction`` of the rest: stratified; the test split does not depend on the seed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from PIL.Image import Image

from maam.core.errors import MaamError
from maam.core.signals import check_signals
from maam.data.base import ArraySplit, Dataset
from maam.data.files import decoding as images
from maam.data.files.tree import EXPECTED, ImageFile, Tree, list_images, scan
from maam.data.splits import hold_out

DEFAULT_SIZE = 32
TEST_FRACTION = 0.2
TEST_SEED = 0  # runs with different seeds are scored on the same images

_BATCH = 512  # how many files of an archive are in memory at once
_PART = 16  # how many of them a thread takes at once

Inspect = Callable[[str, Image, str, str], None]


def load(path: Path, image_size: int | None, val_fraction: float, seed: int) -> Dataset:
    """Load the images of a folder, an archive or a CSV file.

    Args:
        path: the folder, archive or CSV file.
        image_size: side in pixels that every image is fitted to; 32 when None.
        val_fraction: part of the training images held out where there is no validation split.
        seed: seed of the splits.

    Returns:
        RGB images (N, S, S, 3). Files that cannot be read are named in ``skipped``.

    Raises:
        MaamError: as ``tree.scan``; a folder for a class or a split has no images; or a class has
            too few readable images to split.
    """
    tree = scan(path)
    tree.check_no_empty()
    return read_tree(tree, image_size, val_fraction, seed)


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
    pixels, reasons, notes = _decode(tree, (side, side, 3), inspect)
    return replace(_split(tree, pixels, reasons, val_fraction, seed), notes=notes)


def _decode(
    tree: Tree, shape: tuple[int, int, int], inspect: Inspect | None = None
) -> tuple[np.ndarray, dict[ImageFile, str], tuple[str, ...]]:
    """All images (N, H, W, C) in the order of the tree, why some could not be read, and notes."""
    number = {file: index for index, file in enumerate(tree.files)}
    pixels = np.empty((len(number), *shape), np.uint8)
    reasons: dict[ImageFile, str] = {}
    several: list[str] = []

    def decode(part: list[tuple[ImageFile, Path | bytes]]) -> None:
        """Fill in the pixels of some files, or the reasons why there are none."""
        for file, content in part:
            try:
                # Who inspects an image sees it whole.
                picture = images.read(content, file.name, None if inspect else shape[:2])
            except images.UnreadableImage as error:
                reasons[file] = error.reason
                continue
            if inspect:
                inspect(file.name, picture.image, picture.form, picture.mode)
            if picture.several:
                several.append(file.name)
            pixels[number[file]] = images.fit(picture.image, shape[:2], shape[2])

    contents = tree.contents()
    with images.pillow_quiet(), ThreadPoolExecutor(os.cpu_count()) as pool:
        while batch := list(islice(contents, _BATCH)):
            check_signals()
            parts = [batch[start : start + _PART] for start in range(0, len(batch), _PART)]
            for _ in pool.map(decode, parts):
                pass

    reasons = {file: reasons[file] for file in tree.files if file in reasons}  # in their order
    notes = list(tree.notes)
    if several:
        notes.append(
            f"files of several pages or frames: {len(several)}, such as {min(several)}: the first "
            "one is used"
        )
    return pixels, reasons, tuple(notes)


def _split(
    tree: Tree,
    pixels: np.ndarray,
    reasons: dict[ImageFile, str],
    val_fraction: float,
    seed: int,
) -> Dataset:
    """The data set of the decoded images, with the splits that the tree lacks made."""
    given = {file.split for file in tree.files}
    make_val, make_test = "val" not in given and val_fraction > 0, "test" not in given
    _check_counts(tree, reasons, 1 + make_val + make_test)

    label = {name: index for index, name in enumerate(tree.classes)}
    whole = ArraySplit(
        pixels,
        np.array([label[file.label] for file in tree.files], np.int32),
        tuple(file.name for file in tree.files),
    )
    splits = np.array(["" if file in reasons else file.split for file in tree.files])
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
    reasons: dict[ImageFile, str],
    needed: int,
) -> None:
    """Refuse a tree in which a class has fewer readable training images than ``needed``."""
    counts = Counter(
        file.label for file in tree.files if file.split == "train" and file not in reasons
    )
    few = [label for label in tree.classes if counts[label] < needed]
    if not few:
        return
    listed = ", ".join(f"{label!r} ({counts[label]})" for label in few)
    broken = next((f"; {f.name}: {why}" for f, why in reasons.items() if f.label in few), "")
    raise MaamError(
        f"too few readable training images in {tree.path} of class {listed}: {needed} or more are "
        f"needed for the train, val and test splits{broken}"
    )


@dataclass(frozen=True)
class Labelled:
    """Images to score, none of them held out for anything.

    Attributes:
        images: all that could be read.
        splits: the split folder of each image; ``train`` where there are class folders only.
        skipped: files that could not be read, as (name, reason).
        notes: what else a person should know, such as files that are not used.
    """

    images: ArraySplit
    splits: np.ndarray
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def load_all(path: Path, shape: tuple[int, int, int], classes: Sequence[str]) -> Labelled:
    """All images of a folder, an archive or a CSV file, under the classes of a network.

    A class may have few images or none, and there need be nothing to train on.

    Args:
        path: the folder, archive or CSV file.
        shape: (H, W, C) that every image is fitted to.
        classes: names of the class folders, in label order.

    Raises:
        MaamError: as ``tree.list_images``; there are no class folders, one has none of these names,
            or no image can be read.
    """
    tree = list_images(path)
    if not tree.files:
        raise MaamError(f"{path} holds images, but no class folders: {EXPECTED}")
    if unknown := sorted({file.label for file in tree.files} - set(classes)):
        raise MaamError(
            f"{path} has class folders that the run does not know: {_few(unknown)}; the run has "
            f"the classes {_few(classes)}: rename the folders, or take them out"
        )
    pixels, reasons, notes = _decode(tree, shape)
    read = [index for index, file in enumerate(tree.files) if file not in reasons]
    if not read:
        file = tree.files[0]
        raise MaamError(f"no image in {path} can be read, such as {file.name}: {reasons[file]}")
    number = {name: label for label, name in enumerate(classes)}
    files = [tree.files[index] for index in read]
    return Labelled(
        ArraySplit(
            pixels[read],
            np.array([number[file.label] for file in files], np.int32),
            tuple(file.name for file in files),
        ),
        np.array([file.split for file in files]),
        tuple((file.name, reason) for file, reason in reasons.items()),
        notes,
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
