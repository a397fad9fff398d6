"""One training while it runs: what is fixed before the first step, and what an epoch ends with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from maam.core.config import RESUMABLE, TrainConfig
from maam.core.errors import MaamError
from maam.core.metrics import ROUNDING, loss_and_accuracy
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.core.signals import Terminated, check_signals, received
from maam.data import Dataset, Split
from maam.data.augment import Augmentation
from maam.data.augment.resizing import small_size
from maam.data.preprocessing import Preprocessing
from maam.native import build
from maam.training.budget import Deadline
from maam.training.checkpoint import NotFinite, TrainingState
from maam.training.events import Epoch, EpochTotals, Note, Step, Watch
from maam.training.ranks import ALONE, Ranks
from maam.training.small_first import small_epochs, times_as_long

YOUNG_STEPS, SETTLING_PASSES = 100, 40
HALVINGS = 3  # of the learning rate, when numbers are not finite


def repeated(batches: Callable[[], Iterable[tuple[Any, Any]]], number: int) -> Iterator[Any]:
    """The inputs of ``number`` batches, one at a time; none is kept.

    Args:
        batches: begins an epoch's (inputs, answers) anew, at least one; called as often as needed.
        number: how many.
    """
    while number:
        for inputs, _ in islice(batches(), number):
            number -= 1
            yield inputs


@dataclass(frozen=True)
class TrainingRun:
    """All that is fixed before the first step.

    Attributes:
        config: the options.
        folder: where the run is written.
        dataset: the images.
        preprocessing: how pixels become numbers.
        augmentation: how training images vary, before ``mix_until`` and after ``small_until``.
        batch_size: images in a step; not more than there are.
        rates: the learning rate of every step, float32 (epochs * steps,).
        net: the network before training, an ``nn.Cell`` or ``nn.Module``; frozen in part if
            so configured.
        meta: what ``meta.json`` says before the first step.
        watch: told of the plan, of steps and of epochs.
        deadline: when the last epoch must have ended.
        ranks: the processes that train together.
    """

    config: TrainConfig
    folder: RunFolder
    dataset: Dataset
    preprocessing: Preprocessing
    augmentation: Augmentation
    batch_size: int
    rates: np.ndarray
    net: Any
    meta: RunMeta
    watch: Watch
    deadline: Deadline | None = None
    ranks: Ranks = ALONE

    @property
    def steps(self) -> int:
        """Steps in an epoch: every image comes at least once."""
        return -(-len(self.dataset.train) // self.batch_size)

    @property
    def probe(self) -> Split:
        """What is scored after each epoch: validation images, or else a few training images."""
        val, train = self.dataset.val, self.dataset.train
        return val if len(val) else train.take(np.arange(self.batch_size))

    def settling_passes(self, epoch: int) -> int:
        """How many batches a network sees after an epoch for the sake of its norms alone.

        Their running statistics forget a tenth with each batch. After few steps much of what they
        began with is left, and the scores are those of another network. An average of them
        remembers images of another size for longer.
        """
        resized = self.config.ema > 0 and 0 < small_epochs(self.config) <= epoch
        young = (epoch + 1) * self.steps < YOUNG_STEPS
        return SETTLING_PASSES if young or resized else 0

    @property
    def image_weights(self) -> np.ndarray | None:
        """What an image of each class counts in the loss, float32 (K,); None: all the same.

        Each class counts the same in all, and an image 1 on average.
        """
        if self.config.class_weights == "none":
            return None
        counts = np.bincount(self.dataset.train.labels, minlength=len(self.dataset.classes))
        return (counts.sum() / (len(counts) * counts)).astype(np.float32)

    @property
    def identity(self) -> dict[str, Any]:
        """What no part of the run may change, in JSON: options, classes and numbers of images."""
        kept = {k: v for k, v in self.meta.config.items() if k not in RESUMABLE}
        return {**kept, "classes": [*self.dataset.classes], "images": self.meta.images}

    def augmentation_in(self, epoch: int) -> Augmentation:
        """How training images vary in an epoch."""
        config, how = self.config, self.augmentation
        if epoch >= config.mix_until * config.epochs - ROUNDING:
            how = replace(how, mixup=0.0, cutmix=0.0)
        if epoch < small_epochs(config):
            how = replace(how, size=small_size(self.preprocessing.size))
        return how

    def tell_step(self, epoch: int, step: int, part: EpochTotals) -> None:
        """Tell the watcher of a step, and which operators of ours could not be had.

        Args:
            epoch, step: counted from 0.
            part: of the epoch so far, in this process.

        Raises:
            NotFinite: the loss is not finite.
        """
        totals = self.ranks.total(part)
        if slow := build.lack(self.config.framework):  # asked for when networks are built or run
            self.watch(Note(slow))
        loss = totals.loss / totals.images
        if not np.isfinite(loss):
            raise NotFinite(f"the loss became {loss} by step {step + 1}")
        accuracy, speed = totals.correct / totals.images, totals.images / totals.seconds
        self.watch(Step(epoch, step, loss, accuracy, speed))

    def rate(self, state: TrainingState, step: int) -> float:
        """The learning rate of a step of this epoch, counted from 0."""
        return float(self.rates[state.epoch * self.steps + step]) / 2**state.halvings

    def end_step(self, state: TrainingState, steps: int, totals: Callable[[], EpochTotals]) -> None:
        """Save the place inside an epoch, when it is time, or when the process is to stop.

        Args:
            state: what is saved.
            steps: how many of the epoch are done.
            totals: sums them up in this process; it waits for the device.

        Raises:
            NotFinite: a number is not finite.
            KeyboardInterrupt, Terminated: the process is to stop, and all is saved.
        """
        late = time.monotonic() - state.saved >= 60 * self.config.checkpoint_minutes
        stopping, due = self.ranks.sum([received() is not None, late])
        if stopping or (due and steps < self.steps):
            try:
                state.save(self.folder, steps, self.ranks.total(totals()), self.ranks.writes)
            except NotFinite:
                if not stopping:
                    raise
        self._stop(stopping)

    def _stop(self, stopping: float) -> None:
        """Stop, if a process of those that train together is to; all have saved."""
        if stopping:
            check_signals()
            raise Terminated  # another process has the signal

    def roll_back(self, state: TrainingState, error: NotFinite) -> None:
        """Go back to what was saved last, with half the learning rate.

        Raises:
            MaamError: that has been done ``HALVINGS`` times.
        """
        if state.halvings == HALVINGS:
            epoch = state.epoch
            kept = (
                f"epoch {epoch} is kept in {self.folder.last}"
                if epoch
                else f"no epoch was finished, so {self.folder} can be deleted"
            )
            raise MaamError(
                f"in epoch {epoch + 1} {error}, with the learning rate halved {HALVINGS} times "
                f"too; {kept}: train anew with a lower `learning_rate` or with `clip_norm=1`"
            )
        state.roll_back(self.folder)
        where = f"epoch {state.epoch + 1}"
        where = f"step {state.step} of {where}" if state.step else where
        self.watch(Note(f"{error}: back to the start of {where}, with half the learning rate"))

    def end_epoch(
        self,
        state: TrainingState,
        totals: EpochTotals,
        logits: np.ndarray,
        weights: Mapping[str, np.ndarray],
        agent_weights: list[list[float]],
    ) -> None:
        """Score an epoch, and write its row, the state and, if it is the best, the weights.

        Args:
            state: what is written.
            totals: of the training images, in this process.
            logits: of ``probe``, from the network that counts.
            weights: of that network.
            agent_weights: its softmaxed fusion scalars, one list per MAAM module.

        Raises:
            NotFinite: a number is not finite; the epochs before are kept.
            KeyboardInterrupt, Terminated: the process is to stop, and all is saved.
        """
        epoch = state.epoch
        # The last update has not been through the loss yet: look at what will be kept.
        if self.ranks.any(not np.isfinite(logits).all()):
            raise NotFinite("the weights are no longer usable")
        totals = self.ranks.total(totals)
        validated = len(self.dataset.val) > 0
        val_loss, val_accuracy = loss_and_accuracy(logits, self.probe.labels)
        event = Epoch(
            epoch=epoch + 1,
            train_loss=totals.loss / totals.images,
            train_accuracy=totals.correct / totals.images,
            val_loss=val_loss if validated else None,
            val_accuracy=val_accuracy if validated else None,
            learning_rate=self.rate(state, self.steps - 1),
            seconds=round(totals.seconds, 3),
            images_per_second=round(totals.images / totals.seconds, 1),
            agent_weights=agent_weights,
        )
        state.end_epoch(self.folder, asdict(event), weights, self.ranks.writes)
        self.watch(event)
        self._stop(self.ranks.any(received() is not None))

    def stalled(self, state: TrainingState) -> bool:
        """Whether to stop early, and says so. Asked once, before every epoch."""
        patience, small = self.config.early_stopping, small_epochs(self.config)
        if self.ranks.any(state.stalled(patience, small)):
            self.watch(Note(f"no better epoch in {patience}: stopped early"))
            return True
        times = times_as_long(self.config, self.preprocessing.size, state.epoch)
        late = self.deadline is not None and not self.deadline.allows_epoch(times)
        if not self.ranks.any(late):
            return False
        whole = "" if state.epoch > small or not small else ", before images were whole"
        self.watch(Note(f"no time for another epoch: stopped early{whole}"))
        return True
