"""What a training tells while it goes on; a watcher of any kind is called with these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta


@dataclass(frozen=True)
class Choice:
    """An option that was chosen for these images and this machine, and why."""

    option: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Choices:
    """What was chosen for a time budget.

    Attributes:
        minutes: the budget; None: as long as it takes.
        choices: of options that were not given.
        command: repeats the training without choosing again; a call in Python for a network of
            one's own.
        closing: seconds of the budget for what comes after the last epoch.
    """

    minutes: float | None
    choices: tuple[Choice, ...]
    command: str
    closing: float


@dataclass(frozen=True)
class Plan:
    """What is going to happen.

    Attributes:
        folder: the run's.
        meta: its metadata.
        steps: in an epoch.
        batch_size: images in a step.
        augmentation: its kind.
        skipped: files that could not be read, as (name, reason).
        small: epochs, the first ones, that see smaller images.
    """

    folder: RunFolder
    meta: RunMeta
    steps: int
    batch_size: int
    augmentation: str
    skipped: tuple[tuple[str, str], ...]
    small: int = 0


@dataclass(frozen=True)
class Step:
    """A step is done: loss and accuracy are those of the epoch so far.

    Attributes:
        epoch, step: counted from 0.
    """

    epoch: int
    step: int
    loss: float
    accuracy: float
    images_per_second: float


@dataclass(frozen=True)
class Epoch:
    """An epoch is done and saved.

    Attributes:
        epoch: counted from 1.
        val_loss, val_accuracy: None without validation images.
        learning_rate: of its last step.
        agent_weights: the softmaxed fusion scalars, one list a MAAM module.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float
    seconds: float
    images_per_second: float
    agent_weights: list[list[float]]


@dataclass(frozen=True)
class Download:
    """So many bytes of a data set are here, of so many in all (None: nobody knows)."""

    done: int
    total: int | None


@dataclass(frozen=True)
class Note:
    """Something that a person should know."""

    text: str


Event = Choices | Plan | Step | Epoch | Download | Note
Watch = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A watcher that does nothing."""


@dataclass(frozen=True)
class EpochTotals:
    """Sums over an epoch's training images.

    Attributes:
        loss: of the losses, in nats.
        correct: right answers.
        images: seen.
        seconds: spent.
    """

    loss: float
    correct: int
    images: int
    seconds: float
