"""A claim of the paper, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maam.paper.published import NAMES
from maam.paper.runs import Report, tables_of

HOLDS, FAILS, PARTLY = "holds", "does not hold", "holds in part"
UNTESTED, PENDING = "cannot be tested here", "not tested yet"


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        key: short name.
        claim: what the paper says, and ``where``.
        paper, measured, difference: its figure, ours, and ours less its own, for people.
        verdict: ``HOLDS``, ``FAILS``, ``PARTLY``, ``UNTESTED``, or ``PENDING`` where trainings or
            results are missing or the run was a quick one.
        evidence: why.
    """

    key: str
    claim: str
    where: str
    paper: str = "-"
    measured: str = "-"
    difference: str = "-"
    verdict: str = PENDING
    evidence: str = ""


def verdict(holds: bool) -> str:
    """The verdict of a claim that was tested."""
    return HOLDS if holds else FAILS


def untrained(report: Report, models: Sequence[str]) -> str:
    """Why accuracies of these models say nothing here; empty if they do."""
    missing = [NAMES[model] for model in models if not tables_of(report, model)]
    if missing:
        return f"not trained yet: {', '.join(missing)}"
    if report["scope"] == "quick":
        return (
            "a quick run, on a part of the data, says nothing of this: `maam reproduce --full` does"
        )
    return ""
