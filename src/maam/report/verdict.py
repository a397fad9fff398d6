"""What a test says of a classifier, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Confusion:
    """``count`` of ``images`` images of class ``true`` were taken for class ``answer``."""

    true: int
    answer: int
    count: int
    images: int


def confusions(matrix: np.ndarray) -> list[Confusion]:
    """Each wrong answer that was given, the most frequent first.

    Args:
        matrix: (K, K) counts, rows true, columns predicted.
    """
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    images = matrix.sum(1)
    rows, columns = np.nonzero(wrong)
    order = np.argsort(-wrong[rows, columns], kind="stable")
    return [
        Confusion(int(row), int(column), int(wrong[row, column]), int(images[row]))
        for row, column in zip(rows[order], columns[order], strict=True)
    ]


def right_answers(scores: Mapping[str, Any]) -> int:
    """How many images were given their class."""
    return int(np.trace(np.asarray(scores["confusion"])))


def in_words(correct: int, images: int) -> str:
    """A share for people: ``all but about 1 in 12``, ``about 7 in 10``."""
    wrong = images - correct
    if not wrong:
        return "all"
    if wrong * 5 <= images:
        return f"all but about 1 in {round(images / wrong)}"
    tenths = round(10 * correct / images)
    return f"about {tenths} in 10" if tenths else "hardly any"
