"""What is in a data set, and what to mend in it before training."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median_low
from typing import Any, NamedTuple

from PIL.Image import Image

from maam.data import SOURCES, load_dataset
from maam.data.base import Dataset
from maam.data.duplicates import Copies, Sample, find_copies
from maam.data.files.tree import scan
from maam.data.sources.folder import read_tree

# When to warn: training images in the smallest class, largest class to smallest, and sides of a
# typical image to the network's.
FEW_IMAGES = 20
IMBALANCE = 3
SHRINK = 4

_BATCH = 1024


@dataclass(frozen=True)
class Sizes:
    """Smallest, median and largest (width, height), each taken of all widths and all heights."""

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]
    distinct: int


@dataclass(frozen=True)
class Description:
    """A data set as training will use it: the same images, and the same splits for the same seed.

    Attributes:
        counts: split -> class -> number of images.
        image_shape: (H, W, C) that the network gets.
        sizes: of the images before they are fitted, turned upright.
        formats, modes: of the files, in Pillow's words -> number of images; data that is not in
            image files has no formats.
        unreadable: (file, reason).
        ignored: why other files do not count -> how many.
        notes: that, and what else there is to know, in plain language.
        copies: identical images.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    image_shape: tuple[int, int, int]
    sizes: Sizes
    formats: dict[str, int]
    modes: dict[str, int]
    unreadable: tuple[tuple[str, str], ...]
    ignored: dict[str, int]
    notes: tuple[str, ...]
    copies: Copies

    @property
    def imbalance(self) -> float:
        """Training images of the largest class for one of the smallest."""
        return max(self.counts["train"].values()) / min(self.counts["train"].values())

    @property
    def advice(self) -> list[str]:
        """What to mend before training, in plain language; empty when nothing stands out."""
        return list(_advice(self))

    def to_dict(self) -> dict[str, Any]:
        """The same in plain dicts, for JSON."""
        return {**asdict(self), "imbalance": self.imbalance, "advice": self.advice}


class _Details(NamedTuple):
    """An image before it is fitted."""

    size: tuple[int, int]
    form: str
    mode: str
    digest: bytes


def describe(
    data: str,
    data_dir: Path | None = None,
    image_size: int | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
    progress: Callable[[int, int | None], None] | None = None,
) -> Description:
    """Describe the data set that ``load_dataset`` gives for the same arguments.

    Raises:
        MaamError: as ``load_dataset``.
    """
    path = Path(os.path.expanduser(data))
    if not data or data in SOURCES or not path.exists():
        dataset = load_dataset(data, data_dir, image_size, val_fraction, seed, progress)
        return _describe(dataset, _details_of_arrays(dataset), {})

    details: dict[str, _Details] = {}

    def inspect(name: str, image: Image, form: str, mode: str) -> None:
        details[name] = _Details(image.size, form, mode, _digest(image.size, image.tobytes()))

    tree = scan(path)
    dataset = read_tree(tree, image_size, val_fraction, seed, inspect)
    return _describe(dataset, [details[sample.name] for sample in _samples(dataset)], tree.ignored)


def _details_of_arrays(dataset: Dataset) -> list[_Details]:
    height, width, channels = dataset.image_shape
    mode = {1: "L", 3: "RGB"}[channels]
    return [
        _Details((width, height), "", mode, _digest((width, height), image.tobytes()))
        for split in (dataset.train, dataset.val, dataset.test)
        for images, _ in split.batches(_BATCH)
        for image in images
    ]


def _digest(size: tuple[int, int], pixels: bytes) -> bytes:
    """The same for identical images only; the size tells a 2x3 image from a 3x2 one."""
    return hashlib.blake2b(pixels, digest_size=16, key=repr(size).encode()).digest()


def _samples(dataset: Dataset) -> list[Sample]:
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    return [
        Sample(split, dataset.classes[label], name)
        for split, part in splits.items()
        for label, name in zip(part.labels.tolist(), part.names, strict=True)
    ]


def _describe(dataset: Dataset, details: list[_Details], ignored: dict[str, int]) -> Description:
    samples = _samples(dataset)
    counts = {split: dict.fromkeys(dataset.classes, 0) for split in ("train", "val", "test")}
    for sample in samples:
        counts[sample.split][sample.label] += 1
    return Description(
        name=dataset.name,
        source=dataset.source,
        classes=dataset.classes,
        counts=counts,
        image_shape=dataset.image_shape,
        sizes=_sizes([each.size for each in details]),
        formats=dict(Counter(each.form for each in details if each.form).most_common()),
        modes=dict(Counter(each.mode for each in details).most_common()),
        unreadable=dataset.skipped,
        ignored=ignored,
        notes=dataset.notes,
        copies=find_copies(
            (sample, each.digest) for sample, each in zip(samples, details, strict=True)
        ),
    )


def _sizes(sizes: list[tuple[int, int]]) -> Sizes:
    widths, heights = zip(*sizes, strict=True)
    return Sizes(
        smallest=(min(widths), min(heights)),
        median=(median_low(widths), median_low(heights)),
        largest=(max(widths), max(heights)),
        distinct=len(set(sizes)),
    )


def _advice(data: Description) -> Iterator[str]:
    train = data.counts["train"]
    if data.unreadable:
        name, reason = data.unreadable[0]
        yield f"files that cannot be read: {len(data.unreadable)}, such as {name}: {reason}"
    yield from data.notes
    if data.imbalance > IMBALANCE:
        most, least = max(train, key=train.__getitem__), min(train, key=train.__getitem__)
        yield (
            f"unbalanced: {train[most]} training images of {most!r}, {train[least]} of {least!r}; "
            "look at macro F1 beside accuracy, and add images of the small classes"
        )
    if few := [label for label in data.classes if train[label] < FEW_IMAGES]:
        yield (
            f"fewer than {FEW_IMAGES} training images of {_listed(few)}: too few to learn from "
            "and to measure with; add more"
        )
    if data.copies.leak_count:
        one, other = data.copies.leaks[0]
        yield (
            f"pairs of identical images in two splits: {data.copies.leak_count}, such as "
            f"{one.name} ({one.split}) and {other.name} ({other.split}); they make the scores look "
            "better than they are, so keep one of each"
        )
    if data.copies.conflict_count:
        one, other = data.copies.conflicts[0][:2]
        yield (
            f"identical images in two classes: {data.copies.conflict_count}, such as "
            f"{one.name} ({one.label}) and {other.name} ({other.label}); one of them is wrong"
        )
    height, width, _ = data.image_shape
    if min(data.sizes.median) >= SHRINK * min(height, width):
        across, down = data.sizes.median
        yield (
            f"a typical image of {across}x{down} pixels shrinks to {width}x{height}: if classes "
            "differ in details, give a larger `image_size`, which takes longer to train"
        )


def _listed(labels: list[str], most: int = 5) -> str:
    more = f" and {len(labels) - most} more classes" if len(labels) > most else ""
    return ", ".join(repr(label) for label in labels[:most]) + more
