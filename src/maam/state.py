"""What a resumed run needs, whatever the framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maam.checkpoint import BEST, LAST, load_tensors, save_tensors
from maam.report import write_history


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
        """Note a finished epoch; without validation images the newest is the best."""
        self.history.append(row)
        best = self.history[self.best_epoch - 1]["val_accuracy"] if self.best_epoch else None
        if row["val_accuracy"] is None or best is None or row["val_accuracy"] > best:
            self.best_epoch = row["epoch"]

    def finish(self, folder: Path, row: dict[str, Any], weights: Mapping[str, np.ndarray]) -> bool:
        """End an epoch: note it, and write the best weights, the state and the history.

        Args:
            folder: the run folder.
            row: the epoch's facts.
            weights: the network that counts (the average, if there is one).

        Returns:
            Whether all numbers are finite; if not, nothing has been noted or written.
        """
        tensors = self._read()
        if not all(np.isfinite(array).all() for array in tensors.values()):
            return False
        self.note(row)
        if self.best_epoch == row["epoch"]:
            save_tensors(folder / BEST, weights, {"epoch": row["epoch"]})
        facts = {"history": self.history, "best_epoch": self.best_epoch}
        save_tensors(folder / LAST, tensors, facts)
        write_history(self.history, folder)
        return True

    def load(self, folder: Path) -> None:
        """Go on from ``last.safetensors``.

        Raises:
            MaamError: there is none, or it is damaged or of another model.
        """
        tensors, facts = load_tensors(folder / LAST)
        self._assign(tensors, str(folder / LAST))
        self.history, self.best_epoch = facts["history"], facts["best_epoch"]


def finished_epochs(run: Path) -> int:
    """How many epochs a run folder has.

    Raises:
        MaamError: its state is damaged.
    """
    return len(load_tensors(run / LAST)[1]["history"]) if (run / LAST).exists() else 0


def stages(before: Mapping[str, Any], epochs: int, trained: int) -> list[dict[str, Any]]:
    """How many epochs a run was meant to have, each time that this was changed, and after which.

    Learning rates follow from that number: a run of 10 epochs that was given 10 more is not one
    of 20. The accuracy that a finished stage had is kept.

    Args:
        before: the meta of the run so far.
        epochs: how many it is meant to have now.
        trained: how many it has.
    """
    planned, earlier = before["config"]["epochs"], before.get("stages", [])
    if not trained or planned == epochs:
        return earlier
    stage = {"epochs": planned, "until": trained}
    if "metrics" in before:
        stage["accuracy"] = before["metrics"]["accuracy"]
    return [*earlier, stage]
