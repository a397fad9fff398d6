"""Checkpoints: what is saved while a run is trained, and taken again, whatever the framework."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maam.core.errors import MaamError
from maam.core.metrics import best_epoch
from maam.core.run_folder import NEXT, NEXT_BEST, RunFolder
from maam.core.tensors import load_tensors, save_tensors
from maam.training.events import EpochTotals

_NONE = EpochTotals(loss=0.0, correct=0, images=0, seconds=0.0)


class NotFinite(Exception):
    """A loss, a weight or an output is NaN or infinite; says which."""


class Checkpoint(NamedTuple):
    """What was saved last.

    Attributes:
        path: where; None: nothing was, and these are the tensors that training began with.
        tensors: all that change in training, by name.
        progress: what else ``TrainingState`` keeps, checked.
        damaged: what is wrong with a newer one; empty if nothing is.
    """

    path: Path | None
    tensors: dict[str, np.ndarray]
    progress: dict[str, Any]
    damaged: str = ""

    @property
    def epochs(self) -> int:
        """How many were finished."""
        return len(self.progress["history"])


def read_checkpoint(folder: RunFolder) -> Checkpoint | None:
    """The newest checkpoint of a run that is whole; None, if there was none yet.

    Raises:
        MaamError: there are some, and none is whole; or they are gone.
    """
    errors: list[MaamError] = []
    for path in (folder.last, folder.previous):
        if path.exists():
            try:
                tensors, progress = load_tensors(path)
                _check_progress(progress, path)
            except MaamError as error:
                errors.append(error)
            else:
                return Checkpoint(path, tensors, progress, str(errors[0]) if errors else "")
    if errors:
        raise errors[0]
    if folder.read_history():  # which is written after a checkpoint
        raise MaamError(f"{folder.last} is gone: restore it, or train anew in another folder")
    return None


def _settle_best(folder: RunFolder, checkpoint: Checkpoint | None) -> None:
    """Write the best weights, if a process that was killed had no time to; drop those of an epoch
    that no checkpoint knows: it is trained again.

    Args:
        folder: the run's, held by this process.
        checkpoint: in that folder.

    Raises:
        MaamError: a file can't be written.
    """
    fresh = folder.path / NEXT_BEST
    if not fresh.exists():
        return
    weights, metadata = {}, {}
    with suppress(MaamError):  # damaged: nobody needs it
        weights, metadata = load_tensors(fresh)
    if checkpoint and metadata.get("epoch") == checkpoint.progress["best_epoch"]:
        save_tensors(folder.best, weights, metadata)
    fresh.unlink(missing_ok=True)


def _replace(file: Path, target: Path) -> None:
    try:
        file.replace(target)
    except OSError as error:
        raise MaamError(f"cannot write {target}: {error.strerror or error}") from None


def _check_progress(progress: dict[str, Any], path: Path) -> None:
    """Check that a file of tensors is a checkpoint, and not, say, a copy of the best weights."""
    try:
        epochs = [row["epoch"] for row in progress["history"]]
        # An older run has been saved at the ends of epochs only.
        numbers = progress["best_epoch"], progress.get("step", 0), progress.get("halvings", 0)
        EpochTotals(**progress.get("totals", asdict(_NONE)))
        fine = epochs == [*range(1, len(epochs) + 1)] and 0 <= numbers[0] <= len(epochs)
        fine = fine and all(isinstance(number, int) and number >= 0 for number in numbers)
    except (KeyError, TypeError):
        fine = False
    if not fine:
        raise MaamError(f"{path} is not a checkpoint of a training: restore it from a copy")


class TrainingState:
    """Weights, optimiser, average, history, the best epoch so far, and the place in this epoch.

    The order of images and their augmentation depend on seed, epoch and step alone, so that a
    resumed run repeats the uninterrupted one to the last bit.

    Args:
        read: copies of all tensors that change in training, by name.
        assign: sets them all; its second argument names their source, for errors.
        identity: what no part of the run may change, to be kept with them.

    Attributes:
        history: a row for each finished epoch.
        best_epoch: which was the best, counted from 1.
        step: how many steps of the next epoch are done.
        totals: of these steps.
        halvings: how often the learning rate was halved, after numbers that were not finite.
    """

    def __init__(
        self,
        read: Callable[[], dict[str, np.ndarray]],
        assign: Callable[[Mapping[str, np.ndarray], str], None],
        identity: Mapping[str, Any],
    ) -> None:
        self._read, self._assign, self._identity = read, assign, dict(identity)
        self.history: list[dict[str, Any]] = []
        self.best_epoch = self.step = self.halvings = 0
        self.totals = _NONE
        self.saved = time.monotonic()
        self._beginning: Checkpoint | None = None

    @property
    def epoch(self) -> int:
        """How many epochs are finished."""
        return len(self.history)

    def stalled(self, patience: int, begin: int = 0) -> bool:
        """Whether, of those after the first ``begin``, ``patience`` epochs have passed without a
        better one."""
        return 0 < patience <= self.epoch - max(self.best_epoch, begin)

    def note(self, row: dict[str, Any]) -> None:
        """Note a finished epoch, and which is the best; without validation images the newest."""
        self.history.append(row)
        best = best_epoch(self.history)
        self.best_epoch = row["epoch"] if best is None else best["epoch"]
        self.step, self.totals = 0, _NONE

    def end_epoch(
        self, folder: RunFolder, row: dict[str, Any], weights: Mapping[str, np.ndarray], write: bool
    ) -> None:
        """End an epoch: note it, and write the best weights, the state and the history.

        Args:
            folder: the run's.
            row: of the epoch, as in the history.
            weights: the network that counts (the average, if there is one).
            write: whether this process writes.

        Raises:
            NotFinite: a number is not finite; nothing has been noted or written.
        """
        tensors = self._finite_tensors()
        self.note(row)
        better = write and self.best_epoch == row["epoch"]
        if better:
            save_tensors(folder.path / NEXT_BEST, weights, {"epoch": row["epoch"]})
        self._save(folder, tensors, write)
        if better:
            save_tensors(folder.best, weights, {"epoch": row["epoch"]})
            (folder.path / NEXT_BEST).unlink(missing_ok=True)
        if write:
            folder.write_history(self.history)

    def save(self, folder: RunFolder, step: int, totals: EpochTotals, write: bool) -> None:
        """Save the place inside an epoch.

        Args:
            folder: the run's.
            step: how many steps of the epoch are done.
            totals: of these steps.
            write: whether this process writes.

        Raises:
            NotFinite: a number is not finite; nothing has been written.
        """
        tensors = self._finite_tensors()
        if not np.isfinite(totals.loss):
            raise NotFinite(f"the loss became {totals.loss} by step {step}")
        self.step, self.totals = step, totals
        self._save(folder, tensors, write)

    def load(self, folder: RunFolder, write: bool) -> None:
        """Go on from what an earlier part of the run has left; nothing, if it has left nothing.

        Args:
            folder: the run's.
            write: whether this process writes.

        Raises:
            MaamError: it is damaged or of another model.
        """
        checkpoint = read_checkpoint(folder)
        if write:
            _settle_best(folder, checkpoint)
        if checkpoint is None:
            self._beginning = Checkpoint(None, self._read(), self._progress())
        else:
            self._take(checkpoint)
            if write:
                folder.write_history(self.history)

    def roll_back(self, folder: RunFolder) -> None:
        """Go back to what was saved last, and halve the learning rate.

        Raises:
            MaamError: it is damaged.
        """
        halvings = self.halvings + 1
        checkpoint = self._beginning or read_checkpoint(folder)
        if checkpoint is None:
            raise MaamError(f"{folder.last} is gone while the run needs it")
        self._take(checkpoint)
        self.halvings = halvings

    def _finite_tensors(self) -> dict[str, np.ndarray]:
        tensors = self._read()
        if not all(np.isfinite(array).all() for array in tensors.values()):
            raise NotFinite("the weights are no longer usable")
        return tensors

    def _progress(self) -> dict[str, Any]:
        return {
            "history": self.history,
            "best_epoch": self.best_epoch,
            "step": self.step,
            "totals": asdict(self.totals),
            "halvings": self.halvings,
            "identity": self._identity,
        }

    def _save(self, folder: RunFolder, tensors: dict[str, np.ndarray], write: bool) -> None:
        """Write a checkpoint, and keep the one before: one of them is whole at every moment."""
        if write:
            fresh = folder.path / NEXT
            save_tensors(fresh, tensors, self._progress())
            if folder.last.exists():
                _replace(folder.last, folder.previous)
            _replace(fresh, folder.last)
        self._beginning = None
        self.saved = time.monotonic()

    def _take(self, checkpoint: Checkpoint) -> None:
        progress = checkpoint.progress
        self._assign(checkpoint.tensors, str(checkpoint.path or "the first weights"))
        self.history, self.best_epoch = [*progress["history"]], progress["best_epoch"]
        self.step, self.halvings = progress.get("step", 0), progress.get("halvings", 0)
        self.totals = EpochTotals(**progress.get("totals", asdict(_NONE)))
