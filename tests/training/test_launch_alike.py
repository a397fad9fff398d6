"""Several processes that train together do what one does, and one writes."""

from __future__ import annotations

import pytest
from two_workers import FRAMEWORKS, TRAIN, TWO, assert_alike

from maam.cli.app import run
from maam.core.run_folder import RunFolder


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_two_workers_do_what_one_process_does(framework, optimizer, tmp_path, capfd):
    """After 50 steps; and a run of two goes on alone, as a run of one does with two."""
    what = [*TRAIN, "--model", "mlp", "--framework", framework, "--optimizer", optimizer]
    one, two = tmp_path / "one", tmp_path / "two"
    assert run([*what, "--epochs", "5", "--out", str(one)]) == 0
    alone = capfd.readouterr().out
    assert run([*what, "--epochs", "5", "--out", str(two), *TWO]) == 0
    together = capfd.readouterr().out
    assert together.count("epoch   5/5") == 1  # one process tells
    assert len(together.splitlines()) == len(alone.splitlines())
    assert {file.name for file in one.iterdir()} == {file.name for file in two.iterdir()}
    assert_alike(one, two)
    for row, other in zip(*(RunFolder(each).read_history() for each in (one, two)), strict=True):
        assert row["train_accuracy"] == pytest.approx(other["train_accuracy"])
        assert row["train_loss"] == pytest.approx(other["train_loss"], abs=1e-5)
    assert run(["train", "--resume", str(one), "--epochs", "6", *TWO]) == 0
    assert run(["train", "--resume", str(two), "--epochs", "6"]) == 0
    assert_alike(one, two)
    assert len(RunFolder(one).read_history()) == 6
