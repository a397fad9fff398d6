"""Images from a pack of ``maam data pack``: found by its index, decoded when they are needed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from maam.core.errors import MaamError, listed
from maam.data.base import Dataset, Split
from maam.data.files.packs import SPLITS, Pack, open_pack
from maam.data.sources.folder import Labelled, assign, few_note

_DIGEST = "packed-"  # what digests begin with
GROUP = 4  # shards whose images are shuffled together
_PART = 16  # images that a thread decodes at once


@dataclass(frozen=True)
class PackedSplit:
    """A ``Split`` in a pack.

    Attributes:
        pack: where the images lie.
        rows: which ones, in order: int64 (N,).
    """

    pack: Pack
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.pack.image_shape

    @property
    def labels(self) -> np.ndarray:
        return self.pack.rows["label"][self.rows]

    @property
    def names(self) -> Sequence[str]:
        return _Names(self.pack, self.rows)

    @property
    def fingerprints(self) -> np.ndarray:
        """As ``maam.data.fingerprints`` computes them: uint64 (N,)."""
        return self.pack.rows["fingerprint"][self.rows]

    @property
    def shards(self) -> np.ndarray:
        """The shard of each image, int32 (N,)."""
        return self.pack.rows["shard"][self.rows]

    def take(self, indices: np.ndarray) -> PackedSplit:
        return PackedSplit(self.pack, self.rows[indices])

    def joined(self, others: Sequence[Split]) -> Split:
        parts = [self, *others]
        rows = np.concatenate([part.rows for part in parts if isinstance(part, PackedSplit)])
        return PackedSplit(self.pack, rows)

    def batches(self, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(self), batch_size):
            part = self.take(np.arange(start, min(start + batch_size, len(self))))
            yield part.pixels(), part.labels

    def pixels(self) -> np.ndarray:
        pixels = np.empty((len(self), *self.image_shape), np.uint8)

        def decode(start: int) -> None:
            for place in range(start, min(start + _PART, len(self))):
                pixels[place] = self.pack.decode(int(self.rows[place]))

        starts = range(0, len(self), _PART)
        if len(starts) == 1:
            decode(0)
            return pixels
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(decode, starts):
                pass
        return pixels

    def digest(self) -> str:
        """As of an ``ArraySplit``, but of the images' fingerprints: no image is decoded for it."""
        sha = hashlib.sha256(repr((len(self), *self.image_shape)).encode())
        sha.update(np.ascontiguousarray(self.fingerprints).data)
        sha.update(np.ascontiguousarray(self.labels).data)
        return _DIGEST + sha.hexdigest()


class _Names(Sequence):
    """The names of a split, each made when it is asked for."""

    def __init__(self, pack: Pack, rows: np.ndarray) -> None:
        self._pack, self._rows = pack, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return tuple(self._pack.name(int(row)) for row in self._rows[place])
        return self._pack.name(int(self._rows[place]))


def load(path: Path, image_size: int | None, val_fraction: float, seed: int) -> Dataset:
    """Open a pack as a data set, split as the folder that it was made of.

    Args:
        path: the pack.
        image_size: that of the pack, or None.
        val_fraction, seed: as for a folder.

    Raises:
        MaamError: it is damaged, or has images of another size; a class without training images.
    """
    pack = open_pack(path)
    about, rows = pack.about, pack.rows
    if image_size not in (None, about["image_size"]):
        raise MaamError(
            f"`image_size={image_size}`: {path} has images of {about['image_size']} pixels: pack "
            "them anew, or leave it out"
        )
    classes = tuple(about["classes"])
    names = np.array(SPLITS)[rows["split"]]
    splits = assign(names, rows["label"], about["given"], len(classes), val_fraction, seed)
    parts = {name: PackedSplit(pack, np.flatnonzero(splits == name)) for name in SPLITS}
    if lost := set(range(len(classes))) - set(np.unique(parts["train"].labels).tolist()):
        raise MaamError(
            f"`val_fraction={val_fraction}`: no training image of class {classes[min(lost)]!r} is "
            f"left in {path}; hold out less, or add some"
        )
    return Dataset(
        name=about["source"],
        source=f"images packed in {path}",
        classes=classes,
        augment="crop",
        skipped=_skipped(pack),
        notes=(*about["notes"], *few_note(parts["train"], parts["val"], classes, val_fraction)),
        **parts,
    )


def load_all(path: Path, shape: tuple[int, int, int], classes: Sequence[str]) -> Labelled:
    """All images of a pack, none held out.

    Args:
        path: the pack.
        shape: (H, W, C) that they must have.
        classes: of a network, in label order; those of the pack must be among them.

    Raises:
        MaamError: it is damaged, or has others.
    """
    pack = open_pack(path)
    if pack.image_shape != tuple(shape):
        raise MaamError(
            f"{path} has images of {pack.image_shape[0]} pixels, the run takes {shape[0]}: name "
            "the images themselves, or pack them anew"
        )
    if not set(pack.about["classes"]) <= set(classes):
        raise MaamError(
            f"{path} has the classes {listed(pack.about['classes'])}, the run has "
            f"{listed(classes)}: name images of the run's classes"
        )
    numbers = np.array([classes.index(name) for name in pack.about["classes"]], np.int32)
    pack = replace(pack, rows={**pack.rows, "label": numbers[pack.rows["label"]]})
    return Labelled(
        PackedSplit(pack, np.arange(len(pack.rows["label"]))),
        np.array(SPLITS)[pack.rows["split"]],
        _skipped(pack),
        tuple(pack.about["notes"]),
    )


def _skipped(pack: Pack) -> tuple[tuple[str, str], ...]:
    return tuple((name, reason) for name, reason in pack.about["skipped"])


def are_packed(digests: Mapping[str, str]) -> bool:
    """Whether fingerprints of splits are of images in a pack."""
    return any(digest.startswith(_DIGEST) for digest in digests.values())


def shuffled(shards: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An order of images that reads few shards at a time.

    The shards are shuffled, then the images of each ``GROUP`` of them: a shuffle buffer of so many
    shards, but with an order that is known beforehand.

    Args:
        shards: of each image (N,).
        rng: where the randomness comes from.

    Returns:
        A permutation of 0..N-1.
    """
    present = rng.permutation(np.unique(shards))
    groups = (present[start : start + GROUP] for start in range(0, len(present), GROUP))
    return np.concatenate([rng.permutation(np.flatnonzero(np.isin(shards, g))) for g in groups])
