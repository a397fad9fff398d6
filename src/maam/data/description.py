"""What is in a data set, and what to mend in it before training."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from maam.core.errors import listed
from maam.data import SOURCES, load_dataset
from maam.data.duplicates import Copies, Sample, find_copies
from maam.data.files.decoding import first_ones_note
from maam.data.files.tree import Tree, list_images, list_unlabelled
from maam.data.inspection import Measures, Progress, inspect_dataset, inspect_tree
from maam.data.look import suited_size
from maam.data.near_duplicates import NearCopies, find_near_copies
from maam.data.quality import Outliers, Sizes, find_outliers, measure_sizes
from maam.data.readiness import quoted, refusals
from maam.data.sources.folder import assign_splits

# When to warn: training images in the smallest class, and largest class to smallest.
FEW_IMAGES = 20
IMBALANCE = 3

EXAMPLES = 8  # images of a class that are named

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Description:
    """A data set as training will use it: the same images, and the same splits for the same seed.

    Attributes:
        counts: split -> class -> number of images.
        examples: class -> names of up to ``EXAMPLES`` of its images, from all over it.
        image_shape: (H, W, C) that the network gets; images from a path have the suggested size
            unless another was asked for.
        suggested_size: the side in pixels that suits images from a path; None for other data.
        sizes: of the images before they are fitted, turned upright.
        formats, modes: of the files, in Pillow's words -> number of images; data that is not in
            image files has no formats.
        unreadable: (file, reason).
        ignored: why other files do not count -> how many.
        empty: folders for a class or a split without images -> what they hold.
        notes: files that are not used, and what else there is to know, in plain language.
        copies: identical images.
        near_copies: images that look the same.
        outliers: images that stand out: ``one colour``, ``dark``, ``bright``, ``blurred`` -> which.
        refusals: why training would refuse these images, and what to do; empty if it would not.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    examples: dict[str, tuple[str, ...]]
    image_shape: tuple[int, int, int]
    suggested_size: int | None
    sizes: Sizes
    formats: dict[str, int]
    modes: dict[str, int]
    unreadable: tuple[tuple[str, str], ...]
    ignored: dict[str, int]
    empty: dict[str, str]
    notes: tuple[str, ...]
    copies: Copies
    near_copies: NearCopies
    outliers: dict[str, Outliers]
    refusals: tuple[str, ...]

    @property
    def imbalance(self) -> float:
        """Training images of the largest class for one of the smallest that has any."""
        counts = [count for count in self.counts["train"].values() if count]
        return max(counts) / min(counts) if counts else 1.0

    @property
    def advice(self) -> list[str]:
        """What to mend before training, in plain language; empty when nothing stands out."""
        return [*_advice_on_files(self), *_advice_on_classes(self), *_advice_on_images(self)]

    def to_dict(self) -> dict[str, Any]:
        """The same in plain dicts, for JSON."""
        return {**asdict(self), "imbalance": self.imbalance, "advice": self.advice}


def describe(
    data: str,
    data_dir: Path | None = None,
    image_size: int | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
    progress: Callable[[int, int | None], None] | None = None,
    inspected: Progress | None = None,
) -> Description:
    """Describe the data set that ``load_dataset`` gives for the same arguments.

    A folder or archive that training would refuse is described too; ``refusals`` says why.

    Args:
        data, data_dir, image_size, val_fraction, seed, progress: as for ``load_dataset``.
        inspected: called with (images so far, images in all).

    Raises:
        MaamError: as ``load_dataset`` for named data sets; there is no such folder or archive, it
            cannot be read, or holds no images.
    """
    path = Path(os.path.expanduser(data))
    if not data or data in SOURCES or not path.exists():
        dataset = load_dataset(data, data_dir, image_size, val_fraction, seed, progress)
        samples, measures = inspect_dataset(dataset, inspected)
        about = _About(dataset.name, dataset.source, dataset.classes, dataset.image_shape)
        about = replace(about, notes=dataset.notes)
        return _describe(about, samples, measures)

    tree = list_images(path)
    labelled = bool(tree.files)
    tree = tree if labelled else list_unlabelled(path)
    measured, unreadable = inspect_tree(tree, inspected)
    files = list(measured)
    splits = ["train"] * len(files)
    if labelled:
        splits = assign_splits(tree, files, val_fraction, seed)
    side = image_size or suited_size(measure_sizes([m.size for m in measured.values()]).short_side)
    several = [file.name for file, each in measured.items() if each.several]
    about = _About(
        path.resolve().name,
        f"images in {path}",
        tuple(sorted({file.label for file in tree.files})),
        (side, side, 3),
        tree,
        tuple((file.name, reason) for file, reason in unreadable.items()),
        tuple(refusals(tree, files, splits, val_fraction)),
        (*tree.notes, *first_ones_note(several)),
    )
    order = sorted(range(len(files)), key=lambda i: _SPLITS.index(splits[i]))
    samples = [Sample(splits[i], files[i].label, files[i].name) for i in order]
    return _describe(about, samples, [measured[files[i]] for i in order])


@dataclass(frozen=True)
class _About:
    """What is known of a data set beside its images."""

    name: str
    source: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    tree: Tree | None = None
    unreadable: tuple[tuple[str, str], ...] = ()
    refusals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _describe(
    about: _About, samples: Sequence[Sample], measures: Sequence[Measures]
) -> Description:
    counts = {split: dict.fromkeys(about.classes, 0) for split in _SPLITS}
    names: dict[str, list[str]] = {label: [] for label in about.classes}
    for sample in samples:
        counts[sample.split][sample.label] += 1
        names[sample.label].append(sample.name)
    sizes = measure_sizes([each.size for each in measures])
    digests = [each.digest for each in measures]
    return Description(
        name=about.name,
        source=about.source,
        classes=about.classes,
        counts=counts,
        examples={label: _spread(each) for label, each in names.items()},
        image_shape=about.image_shape,
        suggested_size=suited_size(sizes.short_side) if about.tree else None,
        sizes=sizes,
        formats=dict(Counter(each.form for each in measures if each.form).most_common()),
        modes=dict(Counter(each.mode for each in measures).most_common()),
        unreadable=about.unreadable,
        ignored=about.tree.ignored if about.tree else {},
        empty=about.tree.empty if about.tree else {},
        notes=about.notes,
        copies=find_copies(zip(samples, digests, strict=True)),
        near_copies=find_near_copies(samples, digests, [each.fingerprint for each in measures]),
        outliers=find_outliers(samples, measures),
        refusals=about.refusals,
    )


def _spread(names: Sequence[str]) -> tuple[str, ...]:
    """Up to ``EXAMPLES`` of them, from the first to near the last."""
    count = min(EXAMPLES, len(names))
    return tuple(names[len(names) * place // count] for place in range(count))


def _advice_on_files(data: Description) -> Iterator[str]:
    if data.unreadable:
        name, reason = data.unreadable[0]
        yield f"files that cannot be read: {len(data.unreadable)}, such as {name}: {reason}"
    yield from data.notes


def _advice_on_classes(data: Description) -> Iterator[str]:
    train = {label: count for label, count in data.counts["train"].items() if count}
    if data.imbalance > IMBALANCE:
        most, least = max(train, key=train.__getitem__), min(train, key=train.__getitem__)
        yield (
            f"unbalanced: {train[most]} training images of {most!r}, {train[least]} of {least!r}; "
            "look at macro F1 beside accuracy, and add images of the small classes"
        )
    few = [label for label, count in train.items() if count < FEW_IMAGES]
    if few:
        yield (
            f"fewer than {FEW_IMAGES} training images of {listed(quoted(few))}: too few to learn "
            "from and to measure with; add more"
        )
    for split in ("val", "test"):
        counts = data.counts[split]
        absent = [label for label in train if not counts[label] and label not in few]
        if absent and any(counts.values()):
            yield f"no {split} images of {listed(quoted(absent))}: their scores cannot be known"


def _advice_on_images(data: Description) -> Iterator[str]:
    for copies, what, verdict in (
        (data.copies, "identical images", "one of them is wrong"),
        (data.near_copies, "images that look the same", "one of them may be wrong"),
    ):
        if copies.leak_count:
            one, other = copies.leaks[0]
            yield (
                f"pairs of {what} in two splits: {copies.leak_count:,}, such as "
                f"{one.name} ({one.split}) and {other.name} ({other.split}); they make the scores "
                "look better than they are, so keep one of each"
            )
        if copies.conflict_count:
            one, other = copies.conflicts[0][:2]
            yield (
                f"{what} in two classes: {copies.conflict_count:,}, such as {one.name} "
                f"({one.label}) and {other.name} ({other.label}); {verdict}"
            )
    for kind, images in data.outliers.items():
        yield f"images that are {_KINDS[kind]}: {images.count:,}, such as {images.listed[0].name}"
    height, width, _ = data.image_shape
    if data.suggested_size and data.sizes.distinct and data.suggested_size > min(height, width):
        across, down = data.sizes.median
        yield (
            f"a typical image of {across}x{down} pixels shrinks to {width}x{height}: "
            f"`image_size={data.suggested_size}` suits them better, and takes longer to train"
        )


_KINDS = {
    "one colour": "of one colour",
    "dark": "much darker than the others",
    "bright": "much brighter than the others",
    "blurred": "much less sharp than the others",
}
