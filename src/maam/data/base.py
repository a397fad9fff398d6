"""What every data source returns: three splits of uint8 images, with names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


class Split(Protocol):
    """Images of one split, decoded and fitted to one size, wherever they lie.

    Attributes:
        labels: int32 array (N,), indices into ``Dataset.classes``.
        names: one name per image: the file's path, or e.g. ``train/17``.
        image_shape: (H, W, C) of every image, C = 1 or 3.
    """

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def image_shape(self) -> tuple[int, int, int]: ...

    def __len__(self) -> int: ...

    def take(self, indices: np.ndarray) -> Split:
        """The images at ``indices``, in that order."""
        ...

    def batches(self, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All images in order: uint8 (n, H, W, C) and labels (n,); the last batch may be short."""
        ...

    def pixels(self) -> np.ndarray:
        """All images at once: uint8 (N, H, W, C)."""
        ...

    def digest(self) -> str:
        """A fingerprint of the images and labels, to notice that files have changed."""
        ...


@runtime_checkable
class Joinable(Protocol):
    """A split that other splits of its data set can be added to without decoding them."""

    def joined(self, others: Sequence[Split]) -> Split:
        """These images, then those of the others."""
        ...


@runtime_checkable
class Fingerprinted(Protocol):
    """A split whose images' ``maam.data.fingerprints`` are written down: uint64 (N,)."""

    @property
    def fingerprints(self) -> np.ndarray: ...


@dataclass(frozen=True)
class ArraySplit:
    """A ``Split`` in memory.

    Attributes:
        images: uint8 array (N, H, W, C), C = 1 or 3.
        labels: int32 array (N,), indices into ``Dataset.classes``.
        names: one name per image: the file's path, or e.g. ``train/17``.
    """

    images: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def take(self, indices: np.ndarray) -> ArraySplit:
        """The images at ``indices``, in that order. Consecutive ones are a view, not a copy."""
        start, count = int(indices[0]) if len(indices) else 0, len(indices)
        consecutive = start >= 0 and np.array_equal(indices, np.arange(start, start + count))
        part = slice(start, start + count) if consecutive else indices
        names = tuple(self.names[i] for i in indices)
        return ArraySplit(self.images[part], self.labels[part], names)

    def batches(self, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All images in order: uint8 (n, H, W, C) and labels (n,); the last batch may be short."""
        for start in range(0, len(self), batch_size):
            part = slice(start, start + batch_size)
            yield self.images[part], self.labels[part]

    def pixels(self) -> np.ndarray:
        """All images at once: uint8 (N, H, W, C)."""
        return self.images

    def digest(self) -> str:
        """A fingerprint of the images and labels, to notice that files have changed."""
        sha = hashlib.sha256(repr(self.images.shape).encode())
        sha.update(np.ascontiguousarray(self.images).data)
        sha.update(np.ascontiguousarray(self.labels, dtype=np.int32).data)
        return sha.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """A data set ready to train on.

    Attributes:
        name: ``cifar10``, ``fashion-mnist``, ``digits``, or the folder's name.
        source: where the images came from, for people, e.g. ``CIFAR-10 (JPEG copy)``.
        classes: class names, in label order.
        train, val, test: the splits; ``val`` is held out of the training images, and it or
            ``test`` may be empty (length 0).
        augment: the augmentation that suits these images: a name in ``AUGMENTATIONS``.
        skipped: files that could not be read, as (name, reason).
        notes: what else a person should know of the images, such as files that are not used.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    augment: str = "crop-flip"
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        return self.train.image_shape

    @property
    def scored(self) -> Split:
        """The images that a network is scored on: the test images; if none, those of ``val``."""
        return self.test if len(self.test) else self.val

    @property
    def all(self) -> Split:
        """All images, whatever their split."""
        splits = (self.train, self.val, self.test)
        if isinstance(self.train, Joinable):
            return self.train.joined(splits[1:])
        return ArraySplit(
            np.concatenate([split.pixels() for split in splits]),
            np.concatenate([split.labels for split in splits]),
            tuple(name for split in splits for name in split.names),
        )

    def digests(self) -> dict[str, str]:
        """A fingerprint of each split; an empty split has none."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split.digest() for name, split in splits.items() if len(split)}
