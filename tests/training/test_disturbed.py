"""A sample of the matrix of disturbed trainings; ``benchmarks/reliability.py`` runs all of it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from matrix_disks import damage_checkpoints, disturb_writing, small_disks
from matrix_kills import kill_and_resume
from matrix_numbers import poison_numbers


def test_writing_may_be_disturbed_at_any_call(tmp_path: Path) -> None:
    counts = disturb_writing(tmp_path, range(0, 60, 4))
    assert not counts.failures, counts.examples
    assert counts.fine == counts.cases == 75


def test_a_real_disk_may_be_full(tmp_path: Path) -> None:
    counts = small_disks(tmp_path, [8, 16, 128])
    if not counts.cases:
        pytest.skip("this system lets no process mount a disk of its own")
    assert not counts.failures, counts.examples
    assert counts.fine == 3
    assert 1 <= counts.measured["filled"] <= 2  # by the size of a page


def test_damaged_checkpoints_are_noticed(tmp_path: Path) -> None:
    counts = damage_checkpoints(tmp_path, 200)
    assert not counts.failures, counts.examples
    assert counts.noticed == counts.cases == 200


@pytest.mark.parametrize("framework", ["mindspore", "torch"])
def test_numbers_that_are_not_finite_never_reach_the_best_weights(
    framework: str, tmp_path: Path
) -> None:
    counts = poison_numbers(tmp_path, framework, [24])
    assert not counts.failures, counts.examples
    assert counts.fine == counts.noticed == (8 if framework == "torch" else 4)


KILLS = 5  # a form
SGD = {"optimizer": "sgd", "cutmix": 1.0, "taught": True}


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, SGD], ids=["adam", "sgd, mixed, taught"])
@pytest.mark.parametrize("framework", ["mindspore", "torch"])
def test_a_killed_process_goes_on_to_the_last_bit(
    framework: str, options: dict[str, Any], tmp_path: Path
) -> None:
    counts = kill_and_resume(tmp_path, KILLS, framework, **options)
    assert not counts.failures, counts.examples
    assert counts.cases == KILLS and counts.fine >= 1


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["mindspore", "torch"])
def test_an_interrupted_process_goes_on_to_the_last_bit(framework: str, tmp_path: Path) -> None:
    signals = (signal.SIGINT, signal.SIGTERM)
    counts = kill_and_resume(tmp_path, 4, framework, signals=signals, seconds=30)
    assert not counts.failures, counts.examples
    assert counts.cases == 4 and counts.fine >= 1
