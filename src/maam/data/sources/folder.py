"""The user's own images, from a folder, an archive or a CSV file (``tree`` says how they may lie).

A missing test split is made of 20 % of the training images, a missing validation split of
``val_fraction`` of the rest: stratified; the test split does not depend on the seed. Of fewer than
``FEW`` training images a class none are held out for validation: they would say nothing.

Images that cannot be read are left out and named. More than 1 % of all of them, and more than
``ANYWAY``, are refused: then something is wrong with the copy or the disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from maam.core.errors import MaamError, listed
from maam.data.base import Dataset, Split
from maam.data.files.pixels import decode_tree
from maam.data.files.tree import EXPECTED, ImageFile, Tree, list_images, scan
from maam.data.splits import held_out

DEFAULT_SIZE = 32
TEST_FRACTION = 0.2
TEST_SEED = 0  # runs with different seeds are scored on the same images
FEW = 5
UNREADABLE, ANYWAY = 0.01, 10


def load(path: Path, image_size: int | None, val_fraction: float, seed: int) -> Dataset:
    """``read_tree`` of what lies at a path.

    Raises:
        MaamError: as ``tree.scan`` and ``read_tree``.
    """
    return read_tree(scan(path), image_size, val_fraction, seed)


def read_tree(tree: Tree, image_size: int | None, val_fraction: float, seed: int) -> Dataset:
    """Load the images of a folder, an archive or a CSV file.

    Args:
        tree: what it holds.
        image_size: side in pixels that every image is fitted to; 32 when None.
        val_fraction: part of the training images held out where there is no validation split.
        seed: seed of the splits.

    Returns:
        RGB images (N, S, S, 3). Files that cannot be read are named in ``skipped``.

    Raises:
        MaamError: a folder for a class or a split has no images; a class has too few readable
            images to split; or too many images cannot be read.
    """
    tree.check_no_empty()
    side = image_size or DEFAULT_SIZE
    decoded = decode_tree(tree, (side, side, 3))
    _check_counts(tree, decoded.reasons)
    _check_readable(tree, decoded.reasons)
    splits = np.array(assign_splits(tree, decoded.files, val_fraction, seed))
    order = [np.flatnonzero(splits == name) for name in ("train", "val", "test")]
    images = decoded.sorted(np.concatenate(order), tree.classes)
    ends = np.cumsum([0, *map(len, order)])
    train, val, test = (images.take(np.arange(*each)) for each in pairwise(ends))
    notes = (*decoded.notes, *few_note(train, val, tree.classes, val_fraction))
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
        augment="crop",  # mirrored, an arrow to the left is one to the right
        skipped=decoded.skipped,
        notes=notes,
    )


def few_note(
    train: Split, val: Split, classes: Sequence[str], val_fraction: float
) -> tuple[str, ...]:
    """What a person should know where images are too ``FEW`` for validation; else nothing."""
    if len(val) or not val_fraction:
        return ()
    return (
        f"{len(train)} training images of {len(classes)} classes: none are held out for "
        "validation, and the last epoch is kept",
    )


def needed(tree: Tree) -> int:
    """How many readable training images a class must have."""
    return 2 - any(file.split == "test" for file in tree.files)


def assign_splits(
    tree: Tree, files: Sequence[ImageFile], val_fraction: float, seed: int
) -> list[str]:
    """The split that training puts each image in, whether or not it would accept them.

    Args:
        tree: what the folder or archive holds.
        files: those of its images that can be read.
        val_fraction: part of the training images held out where there is no validation split.
        seed: seed of that choice.

    Raises:
        MaamError: ``val_fraction`` is not in [0, 1).
    """
    splits = np.array([file.split for file in files], "<U5")
    labels = np.unique([file.label for file in files], return_inverse=True)[1]
    given = {file.split for file in tree.files}
    return assign(splits, labels, given, len(tree.classes), val_fraction, seed).tolist()


def assign(
    splits: np.ndarray,
    labels: np.ndarray,
    given: Collection[str],
    classes: int,
    val_fraction: float,
    seed: int,
) -> np.ndarray:
    """``assign_splits`` of images whose split folders and classes are in arrays.

    Args:
        splits: the split folder of each image (N,), which is not changed.
        labels: its class (N,).
        given: split folders that there are, of images too that can't be read.
        classes: how many.
        val_fraction, seed: see there.
    """
    splits = splits.copy()
    few = np.count_nonzero(splits == "train") < FEW * classes
    for split, fraction, its_seed in (
        ("test", TEST_FRACTION, TEST_SEED),
        ("val", 0.0 if few else val_fraction, seed),
    ):
        if split not in given:
            rest = np.flatnonzero(splits == "train")
            splits[rest[held_out(labels[rest], fraction, its_seed)[1]]] = split
    return splits


def _check_counts(tree: Tree, reasons: dict[ImageFile, str]) -> None:
    """Refuse a tree in which a class has too few readable training images to split."""
    counts = Counter(
        file.label for file in tree.files if file.split == "train" and file not in reasons
    )
    least = needed(tree)
    few = [label for label in tree.classes if counts[label] < least]
    if not few:
        return
    counted = [f"{label!r} ({counts[label]})" for label in few]
    broken = next((f"; {f.name}: {why}" for f, why in reasons.items() if f.label in few), "")
    raise MaamError(
        f"too few readable training images in {tree.path} of class {listed(counted)}: {least} or "
        f"more are needed for the train and test splits{broken}"
    )


def may_be_unreadable(files: int) -> int:
    """How many of so many files need not be readable for training to go on."""
    return int(max(ANYWAY, UNREADABLE * files))


def too_many(unreadable: int, files: int) -> str:
    """What is wrong where so many of the files cannot be read; nothing if training goes on."""
    if unreadable <= may_be_unreadable(files):
        return ""
    return f"{unreadable:,} of {files:,} images cannot be read, more than {UNREADABLE:.0%}"


def _check_readable(tree: Tree, reasons: dict[ImageFile, str]) -> None:
    """Refuse a tree of which too many images cannot be read."""
    if what := too_many(len(reasons), len(tree.files)):
        some = listed([f"{file.member}: {reason}" for file, reason in reasons.items()], 3)
        raise MaamError(
            f"{tree.path}: {what} ({some}): get them again or move them away; `maam data` with "
            "--json FILE lists them all"
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

    images: Split
    splits: np.ndarray
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def list_all(path: Path, classes: Sequence[str]) -> Tree:
    """The images of a folder, an archive or a CSV file, to score.

    A class may have few images or none, and there need be nothing to train on.

    Args:
        path: the folder, archive or CSV file.
        classes: the names that class folders may have.

    Raises:
        MaamError: as ``tree.list_images``; there are no class folders, or one has none of these
            names.
    """
    tree = list_images(path)
    if not tree.files:
        raise MaamError(f"{path} holds images, but no class folders: {EXPECTED}")
    if unknown := sorted({file.label for file in tree.files} - set(classes)):
        raise MaamError(
            f"{path} has class folders that the run does not know: {listed(unknown)}; the run has "
            f"the classes {listed(classes)}: rename the folders, or take them out"
        )
    return tree


def load_all(tree: Tree, shape: tuple[int, int, int], classes: Sequence[str]) -> Labelled:
    """The images that ``list_all`` has found, under the classes of a network.

    Args:
        tree: what it has found.
        shape: (H, W, C) that every image is fitted to.
        classes: of the network, in label order.

    Raises:
        MaamError: no image can be read.
    """
    decoded = decode_tree(tree, shape)
    if not decoded.files:
        file = tree.files[0]
        reason = decoded.reasons[file]
        raise MaamError(f"no image in {tree.path} can be read, such as {file.name}: {reason}")
    return Labelled(
        decoded.sorted(np.arange(len(decoded.files)), classes),
        np.array([file.split for file in decoded.files]),
        decoded.skipped,
        (*decoded.notes, *tree.empty_notes),
    )
