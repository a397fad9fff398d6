"""Checkpoints that can't be written or are damaged: what goes on, and what is told."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
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

STEPS, EPOCHS = 3, 2  # of the trainings whose writing is disturbed
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EROFS": errno.EROFS, "EDQUOT": errno.EDQUOT}


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


def small_disks(folder: Path, kib: Sequence[int]) -> Counts:
    """Real file systems of so many KiB that a training fills, and one that becomes read-only: a
    line, and the training goes on to the same end once there is room.

    Without the right to mount one for a process alone (``unshare``), no case is counted.
    """
    try_it = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(folder)]
    allowed = shutil.which("unshare") and not subprocess.run(try_it, capture_output=True).returncode
    with counting("small disks") as counts:
        whole = RunFolder(folder / "whole")
        _train(whole)
        for size in kib if allowed else ():
            counts.cases += 1
            code = f"import matrix_disks as m; m.on_small_disk({str(folder)!r}, {size})"
            command = ["unshare", "-rm", sys.executable, "-c", code]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            counts.fail("another end", done.stderr) if done.returncode else None
            counts.fine += done.returncode == 0
            counts.measure("filled", counts.measured.get("filled", 0) + int(done.stdout or 0))
    return counts


def on_small_disk(folder: str, kib: int) -> None:
    """Train on a disk of so many KiB, then with room, then where nothing can be written; prints how
    often the disk was full."""
    disk, run, full = Path(folder, "disk"), RunFolder(Path(folder, "disk", "run")), 0
    disk.mkdir(exist_ok=True)
    mount = partial(subprocess.run, check=True)
    mount(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", str(disk)])
    try:
        _train(run)
    except MaamError as error:
        full = 1
        assert "cannot write" in str(error) and "No space left" in str(error), error
        read_checkpoint(run)
        mount(["mount", "-o", "remount,size=1m", str(disk)])
        _train(run)
    assert _content(run.path) == _content(Path(folder, "whole"))
    mount(["mount", "-o", "remount,size=1m", str(disk)])
    other = RunFolder(disk / "other")
    other.path.mkdir()
    mount(["mount", "-o", "remount,ro", str(disk)])
    try:
        _train(other)
    except MaamError as error:
        assert "cannot write" in str(error) and "Read-only" in str(error), error
    else:
        raise AssertionError("a read-only disk was written to")
    print(full)
