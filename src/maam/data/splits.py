"""Seeded, stratified choices: a subset of a split, and a validation set held out of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from maam.core.errors import MaamError
from maam.data.base import Dataset, Split


def stratified_choice(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Choose ``count`` positions so that every class keeps its share.

    Every class is present once before any class is present twice, and a larger choice with the
    same seed contains the smaller one.

    Args:
        labels: integer array (N,).
        count: how many positions to choose, 0..N.
        seed: seed of the choice; NumPy's global state is neither read nor changed.

    Returns:
        Sorted positions, int64 array (count,).

    Raises:
        MaamError: ``count`` is negative or larger than N.
    """
    if not 0 <= count <= len(labels):
        raise MaamError(f"cannot choose {count} of {len(labels)} images: choose 0 to {len(labels)}")
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = np.asarray(labels)[order]
    # The r-th of n images of a class is due when a share (r + 1/2) / n of all images is taken:
    # that rounds every class to its nearest share (the Sainte-Laguë rule).
    due = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(shuffled == label)
        due[members] = (np.arange(len(members)) + 0.5) / len(members)
        due[members[0]] = 0.0
    return np.sort(order[np.argsort(due, kind="stable")[:count]])


def held_out(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which images ``hold_out`` keeps, and which it holds out.

    Args:
        labels: integer array (N,).
        fraction, seed: as for ``hold_out``.

    Returns:
        Sorted positions, int64: kept, held out.

    Raises:
        MaamError: ``fraction`` is not in [0, 1).
    """
    if not 0 <= fraction < 1:
        raise MaamError(
            f"cannot hold out a fraction of {fraction}: give a number from 0 to below 1"
        )
    count = len(labels)
    kept = stratified_choice(labels, count - round(count * fraction), seed)
    return kept, np.setdiff1d(np.arange(count), kept, assume_unique=True)


def hold_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Split into what is trained on and a stratified, seeded ``fraction`` that is held out.

    Small classes stay in the first part: holding out never takes the only image of a class while
    the first part has room for one of each.

    Returns:
        (train, val), both in the order of ``split``; ``val`` has length 0 when ``fraction`` is 0.

    Raises:
        MaamError: ``fraction`` is not in [0, 1).
    """
    train, val = held_out(split.labels, fraction, seed)
    return split.take(train), split.take(val)


def limit(dataset: Dataset, count: int, seed: int) -> Dataset:
    """The same data set with a stratified choice of ``count`` training images.

    Raises:
        MaamError: there are fewer, or ``count`` leaves a class without an image.
    """
    train = dataset.train
    if count > len(train):
        raise MaamError(f"`limit={count}`: there are only {len(train)} training images")
    if count < (classes := len(dataset.classes)):
        raise MaamError(
            f"`limit={count}` leaves {classes - count} of {classes} classes without a training "
            f"image: give {classes} or more"
        )
    return replace(dataset, train=train.take(stratified_choice(train.labels, count, seed)))


def spread(split: Split, count: int) -> Split:
    """As many as ``count`` images from all over a split, in order."""
    places = np.linspace(0, len(split) - 1, min(len(split), count))
    return split.take(np.unique(places.astype(np.int64)))
