"""Trainings that are killed, checkpoints that can't be written or are damaged, numbers that are not
finite: what goes on, and what is told."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from matrix import Counts, check_line, counting

from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors
from maam.training.checkpoint import TrainingState, read_checkpoint
from maam.training.events import EpochTotals

TRAINING: dict[str, Any] = {
    "data": "digits",
    "limit": 200,
    "model": "mlp",
    "epochs": 3,
    "batch_size": 8,
    "ema": 0.9,
    "checkpoint_minutes": 0,
}
_CHILD = """
import json, sys, maam
from pathlib import Path
folder, options = sys.argv[1], json.loads(sys.argv[2])
tell = lambda event: print(type(event).__name__, flush=True)
if (Path(folder) / "meta.json").exists():
    maam.train(resume=folder, watch=tell)
else:
    maam.train(out=folder, watch=tell, **options)
"""
STEPS, EPOCHS = 3, 2  # of the trainings whose writing is disturbed
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EROFS": errno.EROFS, "EDQUOT": errno.EDQUOT}


def kill_and_resume(folder: Path, kills: int, taught: bool = False, **options: Any) -> Counts:
    """A training in processes of its own that get SIGKILL at random moments, and one that gets
    none: the same weights, optimiser and metrics, to the last bit.

    Args:
        folder: empty.
        kills: how many processes are killed.
        taught: train with a teacher, which is trained before.
        options: of the training that differ from ``TRAINING``.
    """
    import maam

    name = f"SIGKILL, {options['framework']}, {options.get('optimizer', 'adam')}"
    with counting(name) as counts:
        given = {**TRAINING, **options}
        if taught:
            teacher = {**TRAINING, "framework": options["framework"], "epochs": 1}
            given["teacher"] = str(maam.train(**teacher, out=folder / "teacher").run)
        whole = maam.train(**given, out=folder / "whole").run
        run, rng = folder / "killed", np.random.default_rng(0)
        while counts.cases < kills:
            process = _start(run, given)
            assert process.stdout is not None
            steps = int(rng.integers(1, 4))
            for line in process.stdout:
                steps -= line.startswith("Step")
                if not steps:
                    break
            time.sleep(rng.uniform(0, 0.03))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            counts.cases += 1
            if process.returncode == 0:  # it had ended before: begin anew
                _compare(counts, run, whole)
                run = folder / f"killed-{counts.cases}"
            elif process.returncode != -signal.SIGKILL:
                counts.fail("exit code", str(process.returncode))
        process = _start(run, given)
        process.communicate()
        _compare(counts, run, whole)
    return counts


def _start(run: Path, options: dict[str, Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _CHILD, str(run), json.dumps(options)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=run.parent)


def _compare(counts: Counts, run: Path, whole: Path) -> None:
    if differences := list(different(run, whole)):
        counts.fail("not the same", ", ".join(differences))
    else:
        counts.fine += 1


def different(run: Path, whole: Path) -> Iterator[str]:
    """Where two finished runs differ: tensors, and rows of metrics but for times."""
    (tensors, rows), (others, other_rows) = _state(run), _state(whole)
    if rows != other_rows:
        yield "rows"
    for name in tensors.keys() | others.keys():
        if not np.array_equal(tensors.get(name, np.nan), others.get(name, np.nan)):
            yield name


def _state(run: Path) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    folder = RunFolder(run)
    tensors = {f"best.{name}": array for name, array in load_tensors(folder.best)[0].items()}
    times = {"seconds", "images_per_second"}
    rows = [{k: v for k, v in row.items() if k not in times} for row in folder.read_history()]
    return tensors | load_tensors(folder.last)[0], rows


def disturb_writing(folder: Path, calls: range | None = None) -> Counts:
    """A process that dies, or a call that fails, at each write, fsync and rename of a training's
    checkpoints: an older or the newer one always loads, and the training ends as ever.

    Args:
        folder: empty.
        calls: which of the calls; all of them if None.
    """
    with counting("disturbed writing") as counts:
        whole = folder / "whole"
        number = _call_count(whole)
        expected = _content(whole)
        for call in calls or range(number):
            for how in ("dies", *ERRORS):
                counts.cases += 1
                run = folder / f"{call}-{how}"
                process = get_context("fork").Process(target=_disturbed, args=(run, call, how))
                process.start()
                process.join()
                if process.exitcode != (9 if how == "dies" else 2):
                    counts.fail("not told in a line", f"{run.name}: {process.exitcode}")
                try:
                    read_checkpoint(RunFolder(run))
                    _train(RunFolder(run))
                except MaamError as error:
                    counts.fail("no checkpoint loads", f"{run.name}: {error}")
                    continue
                if _content(run) == expected:
                    counts.fine += 1
                else:
                    counts.fail("another end", run.name)
    return counts


def _train(folder: RunFolder) -> None:
    """A training of NumPy alone, whose weights say which steps they have seen."""
    tensors = {"weights": np.zeros(64, np.float32), "slot.weights": np.ones(3)}

    def assign(others: Any, source: str) -> None:
        tensors.update({name: np.array(array) for name, array in others.items()})

    folder.path.mkdir(exist_ok=True)
    state = TrainingState(lambda: {k: v.copy() for k, v in tensors.items()}, assign, {})
    state.load(folder, write=True)
    while state.epoch < EPOCHS:
        for step in range(state.step, STEPS):
            tensors["weights"] = tensors["weights"] * 0.5 + (state.epoch * STEPS + step)
            if step + 1 < STEPS:
                state.save(folder, step + 1, EpochTotals(1.0, 1, step + 1, 1.0), write=True)
        row = {"epoch": state.epoch + 1, "val_accuracy": state.epoch / 10, "val_loss": 1.0}
        state.end_epoch(folder, row, {"weights": tensors["weights"]}, write=True)


def _content(run: Path) -> list[Any]:
    """What matters of a run, file by file."""
    folder = RunFolder(run)
    parts: list[Any] = [folder.history.read_text(), folder.history_csv.read_text()]
    for file in (folder.last, folder.best):  # whose metadata lie in any order
        tensors, about = load_tensors(file)
        parts += [{name: array.tolist() for name, array in tensors.items()}, about]
    return parts


def _call_count(run: Path) -> int:
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    with _watched(count):
        _train(RunFolder(run))
    return calls


def _disturbed(run: Path, call: int, how: str) -> None:
    left = call

    def disturb() -> None:
        nonlocal left
        left -= 1
        if left != -1:
            return
        if how == "dies":
            os._exit(9)
        raise OSError(ERRORS[how], os.strerror(ERRORS[how]))

    try:
        with _watched(disturb):
            _train(RunFolder(run))
    except MaamError as error:
        os._exit(2 if "\n" not in str(error) and "cannot write" in str(error) else 3)
    os._exit(0)


@contextmanager
def _watched(tell: Callable[[], None]) -> Iterator[None]:
    """``tell`` before each call that changes the disk, and in the middle of each write."""
    write, replace, fsync = Path.write_bytes, Path.replace, os.fsync

    def written(self: Path, data: bytes) -> int:
        tell()
        write(self, data[: len(data) // 2])
        tell()
        return write(self, data)

    def replaced(self: Path, target: Path) -> Path:
        tell()
        return replace(self, target)

    def synced(descriptor: int) -> None:
        tell()
        fsync(descriptor)

    with (
        patch.object(Path, "write_bytes", written),
        patch.object(Path, "replace", replaced),
        patch.object(os, "fsync", synced),
    ):
        yield


def damage_checkpoints(folder: Path, count: int, seed: int = 0) -> Counts:
    """``count`` bit flips and truncations of the newest checkpoint: all noticed, and the one before
    takes its place."""
    with counting("damaged checkpoints") as counts:
        run = RunFolder(folder / "run")
        _train(run)
        good, before = run.last.read_bytes(), load_tensors(run.previous)[1]
        rng = np.random.default_rng(seed)
        for number in range(count):
            counts.cases += 1
            content = bytearray(good)
            if number % 5 == 0:
                del content[int(rng.integers(len(content))) :]
            else:
                content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
            run.last.write_bytes(content)
            try:
                checkpoint = read_checkpoint(run)
            except BaseException as error:
                check_line(counts, error)
                counts.fail("nothing loads", str(error))
                continue
            if checkpoint is None or checkpoint.path != run.previous or not checkpoint.damaged:
                counts.fail("not noticed", f"number {number}")
            elif checkpoint.progress != before:
                counts.fail("another checkpoint", f"number {number}")
            else:
                counts.noticed += 1
        run.last.write_bytes(good)
    return counts


def poison_numbers(folder: Path) -> Counts:
    """NaN and infinity in outputs and weights, at the first, a middle and the last step, once and
    always: back to the last checkpoint, or a line after three times; the best weights stay
    finite."""
    import torch

    import maam

    class Poisoned(torch.nn.Module):
        def __init__(self, step: int, value: float, what: str, always: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.dense = torch.nn.Linear(64, 10)
            self.step, self.value, self.what, self.always = step, value, what, always
            self.seen = 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = self.dense(images.flatten(1))
            if self.training:
                due = self.seen >= self.step if self.always else self.seen == self.step
                self.seen += 1
                if due and self.what == "output":
                    return logits * self.value
                if due:
                    with torch.no_grad():
                        self.dense.weight[0, 0] = self.value
            return logits

    options: dict[str, Any] = {
        "data": "digits",
        "limit": 200,
        "epochs": 2,
        "batch_size": 8,
        "augment": "none",
        "framework": "torch",
        "checkpoint_minutes": 0,
    }
    with counting("numbers that are not finite") as counts:
        for step in (0, 24, 49):
            for value in (float("nan"), float("inf")):
                for what in ("output", "weight"):
                    for always in (False, True):
                        counts.cases += 1
                        name = f"{what} {value} at step {step}, always {always}"
                        run = RunFolder(folder / str(counts.cases))
                        net = Poisoned(step, value, what, always)
                        try:
                            maam.train(model=net, out=run.path, **options)
                            outcome: MaamError | None = None
                        except MaamError as error:
                            outcome = error
                        _judge(counts, run, outcome, always, name)
    return counts


def _judge(
    counts: Counts, run: RunFolder, outcome: MaamError | None, always: bool, name: str
) -> None:
    if run.best.exists():
        finite = all(np.isfinite(array).all() for array in load_tensors(run.best)[0].values())
        if not finite:
            counts.fail("poisoned weights", name)
            return
    if always is (outcome is None):
        counts.fail("another end", f"{name}: {outcome}")
    elif outcome is None:
        counts.fine += 1
    elif "halved 3 times" in str(outcome):
        counts.noticed += 1
    else:
        counts.fail("another line", f"{name}: {outcome}")
