"""Trainings that get a signal at random moments and go on: the same to the last bit."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matrix import Counts, counting

from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors

OPTIONS: dict[str, Any] = {
    "data": "digits",
    "limit": 200,
    "model": "mlp",
    "epochs": 3,
    "batch-size": 8,
    "ema": 0.9,
    "workers": 1,
}
BETWEEN = (0, 0.002)  # minutes between two checkpoints, in turns
CODES = {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130, signal.SIGTERM: 143}


def kill_and_resume(
    folder: Path,
    kills: int,
    framework: str,
    taught: bool = False,
    signals: Sequence[signal.Signals] = (signal.SIGKILL,),
    seconds: float = 5,
    seed: int = 0,
    **options: Any,
) -> Counts:
    """A training in processes of its own that get a signal at random moments, and one that gets
    none: the same batches, weights, optimiser and metrics, to the last bit.

    Args:
        folder: empty.
        kills: how many processes get a signal.
        framework: that trains.
        taught: train with a teacher, which is trained before.
        signals: which, in turns. After one that can be caught, the process ends soon, with its own
            exit code and one line.
        seconds: so soon.
        seed: of the moments.
        options: of the command line that differ from ``OPTIONS``.
    """
    with counting(f"{framework}: {', '.join(each.name for each in signals)}") as counts:
        given = {**OPTIONS, **options, "framework": framework}
        if taught:
            _train_whole(folder / "teacher", given | {"epochs": 1, "cutmix": 0.0})
            given["teacher"] = folder / "teacher"
        whole, rng = folder / "whole", np.random.default_rng(seed)
        training = _train_whole(whole, given)
        name, signalled = 0, set()
        while counts.cases < kills:
            run = folder / str(name)
            process, log = _start(run, given | {"checkpoint-minutes": BETWEEN[name % 2]})
            before = _size(log)
            while process.poll() is None and _size(log) == before:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 1.2 * training))
            sent = signals[counts.cases % len(signals)]
            process.send_signal(sent)
            began = time.monotonic()
            _, errors = process.communicate()
            if process.returncode == 0:  # it had ended before
                if run in signalled:
                    _compare(counts, run, whole)
                name += 1
                continue
            signalled.add(run)
            counts.cases += 1
            if process.returncode != CODES[sent]:
                counts.fail("exit code", f"{sent.name}: {process.returncode}, {errors[-300:]}")
            if sent != signal.SIGKILL:
                counts.measure("slowest end, s", time.monotonic() - began)
                if time.monotonic() - began > seconds or errors.count("\n") != 1:
                    counts.fail("not soon, or not in a line", errors[-300:])
        if (run := folder / str(name)) in signalled:
            process, _ = _start(run, given)
            process.communicate()
            _compare(counts, run, whole)
    return counts


def _start(run: Path, options: dict[str, Any]) -> tuple[subprocess.Popen[str], Path]:
    """Begin a training, or go on with it; and the file that its batches are noted in."""
    log = run.with_suffix(".log")
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    given = ["--resume", str(run)] if RunFolder(run).is_begun() else ["--out", str(run), *flags]
    program = str(Path(__file__).with_name("noted_training.py"))
    command = [sys.executable, program, options["framework"], str(log), "train", *given]
    return subprocess.Popen(command, stdout=-1, stderr=-1, text=True), log


def _train_whole(run: Path, options: dict[str, Any]) -> float:
    """A training that nothing disturbs, and the seconds between its first batch and its last."""
    process, log = _start(run, options)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    times = [float(line.split()[0]) for line in log.read_text().splitlines()]
    return times[-1] - times[0]


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _compare(counts: Counts, run: Path, whole: Path) -> None:
    if differences := list(different(run, whole)):
        counts.fail("not the same", ", ".join(differences))
    else:
        counts.fine += 1


def different(run: Path, whole: Path) -> Iterator[str]:
    """Where two finished runs differ: batches, tensors, and rows of metrics but for times."""
    if _batches(run) != _batches(whole):
        yield "batches"
    (tensors, rows), (others, other_rows) = state(run), state(whole)
    if rows != other_rows:
        yield "rows"
    for name in tensors.keys() | others.keys():
        if not np.array_equal(tensors.get(name, np.nan), others.get(name, np.nan)):
            yield name


def _batches(run: Path) -> dict[tuple[int, int], set[str]]:
    """What was seen as each epoch's batch of each number; one digest, if it was always the same."""
    seen: dict[tuple[int, int], set[str]] = {}
    for line in run.with_suffix(".log").read_text().splitlines():
        _, epoch, number, digest = line.split()
        seen.setdefault((int(epoch), int(number)), set()).add(digest)
    return seen


def state(run: Path) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """All tensors of a run, and its rows of metrics without times."""
    folder = RunFolder(run)
    tensors = {f"best.{name}": array for name, array in load_tensors(folder.best)[0].items()}
    times = {"seconds", "images_per_second"}
    rows = [{k: v for k, v in row.items() if k not in times} for row in folder.read_history()]
    return tensors | load_tensors(folder.last)[0], rows
