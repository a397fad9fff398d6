"""Attacks by archives write nothing and end in a line; ``benchmarks/reliability.py`` runs more."""

from __future__ import annotations

from pathlib import Path

from matrix_archives import attack_with_archives, mutate_archives, tar_attacks, zip_attacks


def test_attacks_by_archives(tmp_path: Path) -> None:
    assert len(tar_attacks(tmp_path)) >= 40 and len(zip_attacks(tmp_path)) >= 25
    counts = attack_with_archives(tmp_path)
    assert not counts.failures, counts.examples
    assert (counts.cases, counts.noticed, counts.fine) == (74, 38, 36)


def test_mutated_archives(tmp_path: Path) -> None:
    counts = mutate_archives(tmp_path, 600)
    assert not counts.failures, counts.examples
    assert counts.noticed > 100 and counts.fine > 5
