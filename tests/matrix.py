"""What a matrix of hostile cases counts: CI runs a sample of each, the reliability page all."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Counts:
    """The outcome of many cases of one kind.

    Attributes:
        name: of the kind.
        cases: how many there were.
        noticed: those that were refused with a line of their own, as they should be.
        fine: those that were read or done rightly.
        failures: what went wrong -> how often; empty when all is well.
        examples: of the failures, the first ones, in words.
        seconds: that all took.
        measured: other figures, such as the largest resident memory in MiB.
        curves: how a figure went, in pairs of x and y.
    """

    name: str
    cases: int = 0
    noticed: int = 0
    fine: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    seconds: float = 0.0
    measured: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def fail(self, kind: str, example: str = "") -> None:
        """Count a failure."""
        self.failures[kind] += 1
        if len(self.examples) < 10:
            self.examples.append(f"{kind}: {example}"[:500])

    def measure(self, name: str, value: float) -> None:
        """Keep the largest value of a figure."""
        self.measured[name] = max(value, self.measured.get(name, 0.0))


@contextmanager
def counting(name: str) -> Iterator[Counts]:
    """Counts that know how long they took."""
    counts, began = Counts(name), time.monotonic()
    yield counts
    counts.seconds = time.monotonic() - began


def check_line(counts: Counts, error: BaseException, named: str = "") -> None:
    """Count an error as noticed, if it is one line that names the file."""
    from maam.core.errors import MaamError

    text = str(error)
    if not isinstance(error, MaamError):
        counts.fail(type(error).__name__, text)
    elif not text.strip() or "Traceback" in text:
        counts.fail("no reason", text)
    elif named and named not in text:
        counts.fail("file not named", text)
    else:
        counts.noticed += 1
