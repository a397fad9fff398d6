"""A sample of the matrix of hostile images; ``benchmarks/reliability.py`` runs all of it."""

from __future__ import annotations

from pathlib import Path

import hostile_images
import pytest
from matrix_images import decode_fixtures, decode_largest, decode_mutations, through_the_verbs


def test_hostile_images_are_read_or_refused_in_a_line() -> None:
    counts = decode_fixtures()
    assert not counts.failures, counts.examples
    assert counts.cases == counts.fine + counts.noticed >= 120
    unreadable = {**hostile_images.bombs(), **hostile_images.damaged()}
    assert counts.noticed == len(unreadable) + len(hostile_images.unreadable_files())


def test_mutated_images_never_crash() -> None:
    counts = decode_mutations(600)
    assert not counts.failures, counts.examples
    assert counts.noticed > 100 and counts.fine > 50


@pytest.mark.slow
def test_the_largest_images_need_less_than_a_gibibyte() -> None:
    counts = decode_largest()
    assert not counts.failures, counts.examples
    assert counts.fine == counts.cases == 5


def test_hostile_images_through_the_verbs(tmp_path: Path) -> None:
    counts = through_the_verbs(tmp_path)
    assert not counts.failures, counts.examples
    assert counts.fine == counts.cases == 5
