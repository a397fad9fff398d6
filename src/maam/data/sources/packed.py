"""Images from a pack of ``maam data pack``: found by its index, decoded when they are needed."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from maam.core.errors import MaamError, listed
from maam.core.tensors import load_tensors
from maam.data.base import Dataset, Split
from maam.data.files.tree import PACK_INDEX
from maam.data.sources.folder import Labelled, assign

SPLITS = ("train", "val", "test")
DIGEST = "packed-"  # what digests begin with
GROUP = 4  # shards whose images are shuffled together
_PART = 16  # images that a thread decodes at once
FORMAT = 1
_ARRAYS = ("shard", "offset", "size", "label", "split", "fingerprint", "name_end", "names")


@dataclass(frozen=True)
class Pack:
    """An open pack.

    Attributes:
        path: the folder.
        about: classes, image size, shards, and what was skipped.
        rows: the index: arrays with a value an image.
        files: the shards.
    """

    path: Path
    about: dict[str, Any]
    rows: dict[str, np.ndarray]
    files: tuple[Path, ...]
    _open: dict[int, int] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        side = self.about["image_size"]
        return side, side, 3

    def name(self, row: int) -> str:
        """The file that an image was made of."""
        ends = self.rows["name_end"]
        start = int(ends[row - 1]) if row else 0
        return bytes(self.rows["names"][start : ends[row]]).decode("utf-8", "surrogateescape")

    def decode(self, row: int) -> np.ndarray:
        """An image, uint8 (H, W, 3).

        Raises:
            MaamError: the shard is missing or damaged.
        """
        shard, size = int(self.rows["shard"][row]), int(self.rows["size"][row])
        try:
            content = os.pread(self._descriptor(shard), size, int(self.rows["offset"][row]))
            pixels = np.array(Image.open(io.BytesIO(content), formats=("PNG",)), np.uint8)
        except Exception as error:  # Pillow's parser, given damaged bytes, raises nearly anything
            raise self._damaged(shard, error) from None
        if pixels.shape != self.image_shape:
            raise self._damaged(shard, "an image has another size")
        return pixels

    def _descriptor(self, shard: int) -> int:
        """The open file of a shard; files are few, and stay open with the pack."""
        with self._lock:
            if shard not in self._open:
                self._open[shard] = os.open(self.files[shard], os.O_RDONLY)
            return self._open[shard]

    def __del__(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def _damaged(self, shard: int, why: object) -> MaamError:
        reason = " ".join(str(why).split()) or "it is damaged"
        return MaamError(f"cannot read {self.files[shard]}: {reason}; pack the images anew")


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
        return DIGEST + sha.hexdigest()


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


def is_pack(path: Path) -> bool:
    """Whether a folder is a pack."""
    return (path / PACK_INDEX).is_file()


def open_pack(path: Path) -> Pack:
    """Open a pack.

    Raises:
        MaamError: it is damaged, not whole, or of another version.
    """
    rows, about = load_tensors(path / PACK_INDEX)
    if about.get("format") != FORMAT or set(rows) != set(_ARRAYS):
        raise MaamError(f"{path} was packed by another version of maam: pack the images anew")
    files = tuple(path / name for name in about["shards"])
    for file in files:
        size = file.stat().st_size if file.is_file() else None
        if size != about["shards"][file.name]:
            what = "is missing" if size is None else f"has {size:,} bytes"
            raise MaamError(f"{file} {what}: copy the whole pack, or pack the images anew")
    return Pack(path, about, rows, files)


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
        raise MaamError(f"{path} has no training image of class {classes[min(lost)]!r}: add some")
    return Dataset(
        name=about["source"],
        source=f"images packed in {path}",
        classes=classes,
        augment="crop",
        skipped=_skipped(pack),
        notes=tuple(about["notes"]),
        **parts,
    )


def load_all(path: Path, shape: tuple[int, int, int], classes: Sequence[str]) -> Labelled:
    """All images of a pack, none held out.

    Args:
        path: the pack.
        shape: (H, W, C) that they must have.
        classes: that they must have, in label order.

    Raises:
        MaamError: it is damaged, or has others.
    """
    pack = open_pack(path)
    if pack.image_shape != tuple(shape):
        raise MaamError(
            f"{path} has images of {pack.image_shape[0]} pixels, the run takes {shape[0]}: name "
            "the images themselves, or pack them anew"
        )
    if tuple(pack.about["classes"]) != tuple(classes):
        raise MaamError(
            f"{path} has the classes {listed(pack.about['classes'])}, the run has "
            f"{listed(classes)}: name images of the run's classes"
        )
    return Labelled(
        PackedSplit(pack, np.arange(len(pack.rows["label"]))),
        np.array(SPLITS)[pack.rows["split"]],
        _skipped(pack),
        tuple(pack.about["notes"]),
    )


def _skipped(pack: Pack) -> tuple[tuple[str, str], ...]:
    return tuple((name, reason) for name, reason in pack.about["skipped"])


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
