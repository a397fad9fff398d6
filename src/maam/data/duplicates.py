"""Identical images: those that leak from one split into another, and those with two classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, islice, product

LISTED = 1000  # how many pairs and groups are named; the counts are of all


@dataclass(frozen=True)
class Sample:
    """One image of a data set."""

    split: str
    label: str
    name: str


@dataclass(frozen=True)
class Copies:
    """What identical images there are in a data set.

    Attributes:
        leak_count: pairs of which the two images are in different splits.
        leaks: the first ``LISTED`` of these pairs.
        repeats_in_train: training images that repeat another training image.
        conflict_count: groups of identical images that are not all in the same class.
        conflicts: the first ``LISTED`` of these groups, one image of each class.
    """

    leak_count: int
    leaks: tuple[tuple[Sample, Sample], ...]
    repeats_in_train: int
    conflict_count: int
    conflicts: tuple[tuple[Sample, ...], ...]


def find_copies(images: Iterable[tuple[Sample, bytes]]) -> Copies:
    """Compare images by a digest that is the same for identical images only."""
    by_digest: dict[bytes, list[Sample]] = defaultdict(list)
    for sample, digest in images:
        by_digest[digest].append(sample)
    groups = [group for group in by_digest.values() if len(group) > 1]
    across = [sides for group in groups for sides in combinations(_by_split(group).values(), 2)]
    leaks = (pair for one, other in across for pair in product(one, other))
    train = [_by_split(group).get("train", []) for group in groups]
    by_label = [{sample.label: sample for sample in reversed(group)} for group in groups]
    conflicts = [tuple(one[label] for label in sorted(one)) for one in by_label if len(one) > 1]
    return Copies(
        leak_count=sum(len(one) * len(other) for one, other in across),
        leaks=tuple(islice(leaks, LISTED)),
        repeats_in_train=sum(len(group) - 1 for group in train if group),
        conflict_count=len(conflicts),
        conflicts=tuple(conflicts[:LISTED]),
    )


def _by_split(group: list[Sample]) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = defaultdict(list)
    for sample in group:
        samples[sample.split].append(sample)
    return samples
