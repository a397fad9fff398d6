"""Images that stand out in a data set: blurred, dark, bright, or of one colour.

What is sharp or dark enough depends on the images, so each is compared with the others: it stands
out if it lies further from the median than nearly all would by chance (Iglewicz and Hoaglin, "How
to detect and handle outliers", 1993: 3.5 deviations, told from the median absolute deviation), and
if the difference is large in itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low

import numpy as np

from maam.data.duplicates import LISTED, Sample
from maam.data.inspection import Measures

_DEVIATIONS = 3.5
_TO_SIGMA = 1.4826  # of the median absolute deviation, for normally distributed values
_BLURRED = 1 / 8  # of the median sharpness
_DARK = 1 / 2  # of the median distance from black, or from white


@dataclass(frozen=True)
class Sizes:
    """Smallest, median and largest (width, height), each taken of all widths and all heights.

    Attributes:
        distinct: how many different sizes there are.
        short_side: the median of the shorter sides.
    """

    smallest: tuple[int, int] = (0, 0)
    median: tuple[int, int] = (0, 0)
    largest: tuple[int, int] = (0, 0)
    distinct: int = 0
    short_side: int = 0


@dataclass(frozen=True)
class Outliers:
    """Images of one kind: how many, and the first ``LISTED``, the most extreme first."""

    count: int
    listed: tuple[Sample, ...]


def measure_sizes(sizes: Sequence[tuple[int, int]]) -> Sizes:
    """What sizes (width, height) there are."""
    if not sizes:
        return Sizes()
    widths, heights = zip(*sizes, strict=True)
    return Sizes(
        smallest=(min(widths), min(heights)),
        median=(median_low(widths), median_low(heights)),
        largest=(max(widths), max(heights)),
        distinct=len(set(sizes)),
        short_side=median_low(map(min, sizes)),
    )


def find_outliers(samples: Sequence[Sample], measures: Sequence[Measures]) -> dict[str, Outliers]:
    """The images that stand out: ``one colour``, ``dark``, ``bright``, ``blurred`` -> which.

    An image is named once, by the first of these that it is.
    """
    named = np.array([_of_one_colour(each) for each in measures], bool)
    found = {"one colour": np.flatnonzero(named)}
    if not named.all():
        brightness = np.array([each.brightness for each in measures])
        sharpness = np.array([each.sharpness for each in measures])
        kinds = {
            "dark": (brightness, _DARK),
            "bright": (255 - brightness, _DARK),
            "blurred": (sharpness, _BLURRED),
        }
        for kind, (values, ratio) in kinds.items():
            found[kind] = _low(np.log1p(values), ratio, named)
            named[found[kind]] = True
    return {
        kind: Outliers(len(positions), tuple(samples[i] for i in positions[:LISTED]))
        for kind, positions in found.items()
        if len(positions)
    }


def _of_one_colour(measures: Measures) -> bool:
    return measures.fingerprint.hash is None and measures.sharpness < 1


def _low(values: np.ndarray, ratio: float, named: np.ndarray) -> np.ndarray:
    """Positions, lowest first, of the values far below the others.

    Args:
        values: logarithms, float64 (N,).
        ratio: to the median, that they must be below too.
        named: bool (N,), those that do not count.
    """
    others = values[~named]
    usual = np.median(others)
    spread = _TO_SIGMA * np.median(np.abs(others - usual))
    limit = usual + min(np.log(ratio), -_DEVIATIONS * spread)
    low = np.flatnonzero((values < limit) & ~named)
    return low[np.argsort(values[low], kind="stable")]
