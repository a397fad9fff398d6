"""Several processes that train together: when one ends, or is told to, all do; none waits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from two_workers import FRAMEWORKS, TRAIN, TWO, assert_alike

from maam.cli.app import run
from maam.core.run_folder import RunFolder

BEGUN = [*TRAIN, "--model", "mlp", "--schedule", "constant", "--optimizer", "sgd"]
MINUTE = 60  # after which a killed worker has ended all others


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def begin(framework: str, out: Path) -> subprocess.Popen[str]:
    """Two workers, after two epochs."""
    options = ["--epochs", "5000", "--framework", framework, "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "maam", *BEGUN, *options, *TWO], text=True, stdout=-1, stderr=-1
    )
    assert process.stdout
    while not process.stdout.readline().startswith("epoch   2/"):
        assert process.poll() is None
    return process


def stop(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    """Send a signal: the exit code, and what was said."""
    process.send_signal(number)
    _, errors = process.communicate(timeout=MINUTE)
    return process.returncode, errors


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_killed_worker_ends_all(framework, tmp_path):
    process = begin(framework, tmp_path / "r")
    (launcher,) = children(process.pid)
    os.kill(children(launcher)[-1], signal.SIGKILL)
    began = time.monotonic()
    _, errors = process.communicate(timeout=2 * MINUTE)
    assert time.monotonic() - began < MINUTE
    assert process.returncode == 2
    assert errors.count("\n") == 1 and f"--resume {tmp_path / 'r'}" in errors
    assert "killed by signal 9" in errors
    finished = len(RunFolder(tmp_path / "r").read_history())
    resume = ["train", "--resume", str(tmp_path / "r"), "--epochs", str(finished + 1)]
    assert run([*resume, *TWO]) == 0
    assert not RunFolder(tmp_path / "r").workers.exists()


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_ctrl_c_ends_all(framework, tmp_path):
    code, errors = stop(begin(framework, tmp_path / "r"), signal.SIGINT)
    assert code == 130
    assert errors.count("\n") == 1 and "--resume" in errors


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_signal_ends_all_and_nothing_is_lost(framework, tmp_path):
    code, errors = stop(begin(framework, tmp_path / "r"), signal.SIGTERM)
    assert code == 143
    assert errors.count("\n") == 1 and "--resume" in errors
    folder, whole = RunFolder(tmp_path / "r"), tmp_path / "whole"
    epochs = str(len(folder.read_history()) + 1)
    assert run(["train", "--resume", str(folder), "--epochs", epochs]) == 0
    assert run([*BEGUN, "--framework", framework, "--epochs", epochs, "--out", str(whole)]) == 0
    assert_alike(folder.path, whole)


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_numbers_that_are_not_finite_end_all(framework, tmp_path, capfd):
    """After three tries, which all workers make together."""
    what = [*BEGUN, "--framework", framework, "--learning-rate", "1e30"]
    assert run([*what, *TWO, "--out", str(tmp_path / "r")]) == 2
    said = capfd.readouterr()
    assert said.err.count("\n") == 1 and "halved 3 times" in said.err
    assert said.out.count("with half the learning rate") == 3
