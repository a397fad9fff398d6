"""A sample of the matrix of disturbed trainings; ``benchmarks/reliability.py`` runs all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from matrix_training import (
    damage_checkpoints,
    disturb_writing,
    kill_and_resume,
    poison_numbers,
)


def test_writing_may_be_disturbed_at_any_call(tmp_path: Path) -> None:
    counts = disturb_writing(tmp_path, range(0, 60, 4))
    assert not counts.failures, counts.examples
    assert counts.fine == counts.cases == 75


def test_damaged_checkpoints_are_noticed(tmp_path: Path) -> None:
    counts = damage_checkpoints(tmp_path, 200)
    assert not counts.failures, counts.examples
    assert counts.noticed == counts.cases == 200


def test_numbers_that_are_not_finite_never_reach_the_best_weights(tmp_path: Path) -> None:
    counts = poison_numbers(tmp_path)
    assert not counts.failures, counts.examples
    assert counts.fine == counts.noticed == 12


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["mindspore", "torch"])
def test_a_killed_process_goes_on_to_the_last_bit(framework: str, tmp_path: Path) -> None:
    counts = kill_and_resume(tmp_path, 10, framework=framework)
    assert not counts.failures, counts.examples
    assert counts.cases == 10 and counts.fine >= 1
