"""What a resumed run needs, whatever the framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from maam.core.metrics import best_epoch
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.core.tensors import load_tensors, save_tensors


class TrainingState:
    """Weights, optimiser, average, history, and the best epoch so far.

    The order of images and their augmentation depend on seed and epoch alone, so that a resumed
    run repeats the uninterrupted one to the last bit.

    Args:
        read: copies of all tensors that change in training, by name.
        assign: sets them all; its second argument names their source, for errors.
    """

    def __init__(
        self,
        read: Callable[[], dict[str, np.ndarray]],
        assign: Callable[[Mapping[str, np.ndarray], str], None],
    ) -> None:
        self._read, self._assign = read, assign
        self.history: list[dict[str, Any]] = []
        self.best_epoch = 0

    @property
    def epoch(self) -> int:
        """How many epochs are finished."""
        return len(self.history)

    def stalled(self, patience: int) -> bool:
        """Whether ``patience`` epochs have passed without a better one."""
        return 0 < patience <= self.epoch - self.best_epoch

    def note(self, row: dict[str, Any]) -> None:
        """Note a finished epoch, and which is the best; without validation images the newest."""
        self.history.append(row)
        best = best_epoch(self.history)
        self.best_epoch = row["epoch"] if best is None else best["epoch"]

    def end_epoch(
        self, folder: RunFolder, row: dict[str, Any], weights: Mapping[str, np.ndarray], write: bool
    ) -> bool:
        """End an epoch: note it, and write the best weights, the state and the history.

        Args:
            folder: the run's.
            row: of the epoch, as in the history.
            weights: the network that counts (the average, if there is one).
            write: whether this process writes.

        Returns:
            Whether all numbers are finite; if not, nothing has been noted or written.
        """
        tensors = self._read()
        if not all(np.isfinite(array).all() for array in tensors.values()):
            return False
        self.note(row)
        if not write:
            return True
        if self.best_epoch == row["epoch"]:
            save_tensors(folder.best, weights, {"epoch": row["epoch"]})
        progress = {"history": self.history, "best_epoch": self.best_epoch}
        save_tensors(folder.last, tensors, progress)
        folder.write_history(self.history)
        return True

    def load(self, folder: RunFolder) -> None:
        """Go on from what an earlier part of the run has left; nothing, if that ended in epoch 1.

        Raises:
            MaamError: it is damaged or of another model.
        """
        if folder.last.exists():
            tensors, progress = load_tensors(folder.last)
            self._assign(tensors, str(folder.last))
            self.history, self.best_epoch = progress["history"], progress["best_epoch"]
            folder.write_history(self.history)


def finished_epochs(folder: RunFolder) -> int:
    """How many epochs a run folder has.

    Raises:
        MaamError: its state is damaged.
    """
    return len(load_tensors(folder.last)[1]["history"]) if folder.last.exists() else 0


def stages(before: RunMeta, epochs: int, trained: int) -> tuple[dict[str, Any], ...]:
    """How many epochs a run was meant to have, each time that this was changed, and after which.

    Learning rates follow from that number: a run of 10 epochs that was given 10 more is not one
    of 20. The accuracy that a finished stage had is kept.

    Args:
        before: the metadata of the run so far.
        epochs: how many it is meant to have now.
        trained: how many it has.
    """
    planned = before.config.get("epochs", epochs)
    if not trained or planned == epochs:
        return before.stages
    stage = {"epochs": planned, "until": trained}
    if before.metrics and before.metrics.get("accuracy") is not None:
        stage["accuracy"] = before.metrics["accuracy"]
    return (*before.stages, stage)
