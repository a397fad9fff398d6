"""From images and a time budget to all options of a training, each with its reason.

The rules were tried on held-out images; ``docs/training.md`` says on which and with what result.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maam.core.config import TrainConfig
from maam.core.frameworks import Backend
from maam.data import SOURCES, Dataset
from maam.data.files.tree import Tree, scan
from maam.data.look import suited_size, typical_side
from maam.data.splits import limit
from maam.models.weights import sources
from maam.training.commands import planned_command
from maam.training.events import Choice, Choices, Watch
from maam.training.setup import load_data

MINUTES = 10.0
MODELS = ("maamnet-tiny", "maamnet-nano")  # the first that the time allows
EPOCHS = (4, 60)  # fewest that a larger model is chosen for; most
STEPS = 300  # fewest in all: smaller batches for few images
BATCHES = (64, 32, 16, 8)
TIMED_BATCH = 32  # images in the steps that are timed
IMBALANCE = 2.0  # largest class to smallest
USED = 0.8  # of the time that is left for steps: other programs run too
CLOSING_SECONDS = 25.0  # scores, export, pictures and report, but for the images to score
SCORING = 0.4  # seconds to score an image, to those to train on it

# What goes with shipped weights, and without.
FINE_TUNING = {"optimizer": "adam", "learning_rate": 2e-3, "weight_decay": 0.0}
SCRATCH = {"optimizer": "adam", "learning_rate": 3e-3, "weight_decay": 0.0}


@dataclass(frozen=True)
class Budget:
    """The time for a whole training.

    Attributes:
        minutes: in all.
        began: when, on ``time.monotonic``'s clock.
    """

    minutes: float
    began: float = field(default_factory=time.monotonic)

    @property
    def deadline(self) -> float:
        """When all must be done, on that clock."""
        return self.began + 60 * self.minutes

    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()


def is_planned(config: TrainConfig) -> bool:
    """Whether the options leave anything to plan: those of a folder do, unless they name a model
    and no time."""
    return config.model == "auto" or config.minutes is not None


class Planned(NamedTuple):
    """A training that can begin.

    Attributes:
        config: all options.
        dataset: its images.
        deadline: when its last epoch must have ended, on ``time.monotonic``'s clock.
    """

    config: TrainConfig
    dataset: Dataset
    deadline: float


def plan(config: TrainConfig, backend: Backend, watch: Watch) -> Planned:
    """Choose all options that are not given, so that training and scoring end in time.

    Loads the images, and times a few real training steps.

    Args:
        config: the given options, and defaults.
        backend: the framework.
        watch: told of downloads and of the choices.

    Raises:
        MaamError: bad data, or a device that is not there.
    """
    budget = Budget(config.minutes or MINUTES)
    backend.set_device(config.device, config.mode)
    path = Path(os.path.expanduser(config.data))
    tree = scan(path) if config.data not in SOURCES and path.exists() else None
    size = choose_size(tree) if tree and config.image_size is None else None
    choices = [size] if size else []
    config = _with(config, choices)
    dataset = load_data(config, watch, tree)
    more, closing = choose_options(config, dataset, backend, budget)
    choices += more
    if "limit" in {choice.option for choice in choices}:
        dataset = limit(dataset, choices[-1].value, config.seed)
    config = _with(config, choices).model_copy(update={"minutes": None})
    watch(Choices(budget.minutes, tuple(choices), planned_command(config), closing))
    return Planned(config, dataset, budget.deadline - closing)


def _with(config: TrainConfig, choices: Iterable[Choice]) -> TrainConfig:
    return config.model_copy(update={choice.option: choice.value for choice in choices})


def choose_size(tree: Tree) -> Choice | None:
    """The image size for a folder, from the sizes of its images; None if none of them opens."""
    side = typical_side(tree)
    if side is None:  # the loader says what is wrong
        return None
    return Choice("image_size", suited_size(side), f"the images have {side} pixels a side")


def choose_options(
    config: TrainConfig, dataset: Dataset, backend: Backend, budget: Budget
) -> tuple[list[Choice], float]:
    """All other options that are not given, and the seconds that are kept for what comes after the
    last epoch.

    Args:
        config: the given options, and defaults; the image size has been chosen.
        dataset: the images.
        backend: the framework, with its device set.
        budget: what it must end within.
    """
    given = config.model_fields_set
    choices: list[Choice] = []

    def choose(option: str, value: Any, reason: str) -> None:
        if option not in given and getattr(config, option) != value:
            choices.append(Choice(option, value, reason))

    images, classes = len(dataset.train), len(dataset.classes)
    height, width, channels = dataset.image_shape
    named = config.model if config.model != "auto" else None
    model = named or MODELS[0]
    pretrained = (
        config.weights in sources(model) if "pretrained" not in given else config.pretrained
    )
    recipe = FINE_TUNING if pretrained else SCRATCH
    trial = config.model_copy(update={"batch_size": TIMED_BATCH, **recipe})

    def seconds_of(model: str) -> float:
        """Of a training step, for an image."""
        net = backend.create_model(model, classes, channels, (height, width))
        return backend.time_step(net, trial, classes, (channels, height, width)) / TIMED_BATCH

    seconds = seconds_of(model)
    why = f"{1 / seconds:,.0f} images/s here"
    if named is None and _epochs(seconds, dataset, budget) < EPOCHS[0]:
        model = MODELS[1]
        seconds = seconds_of(model)
        why = f"{MODELS[0]} would see each image less than {EPOCHS[0]} times"
    if named is None:
        choices.append(Choice("model", model, why))
    choose("pretrained", pretrained, "its weights know photos already")
    possible = _epochs(seconds, dataset, budget)
    wanted = min(EPOCHS[1], max(15, round(20 * math.sqrt(2000 / images))))
    epochs = max(1, min(possible, wanted))
    why = f"the {budget.minutes:g} minutes allow {possible}" if possible < wanted else "enough"
    choose("epochs", epochs, f"{why} for {images:,} images")
    epochs = config.epochs if "epochs" in given else epochs
    batch = next((b for b in BATCHES if epochs * images >= STEPS * b), BATCHES[-1])
    choose("batch_size", batch, f"{epochs * -(-images // batch):,} steps in all")
    for option, value in recipe.items():
        rate = option == "learning_rate"
        value = round(value * math.sqrt(batch / BATCHES[0]), 6) if rate else value
        choose(option, value, "for fine-tuning" if pretrained else "for training from scratch")
    choose("warmup_epochs", round(min(1.0, epochs / 8), 2), "the new last layer settles first")
    choose("normalize", "standard", "as the weights" if pretrained else "learns faster")
    choices += _for_data(config, dataset)
    if not possible:
        most = int((budget.left() - _closing(seconds, dataset)) * USED / seconds)
        some = max(classes, min(images, most))
        choose("limit", some, f"the {budget.minutes:g} minutes allow no whole epoch")
    return choices, _closing(seconds, dataset)


def _for_data(config: TrainConfig, dataset: Dataset) -> Iterator[Choice]:
    """What the images themselves ask for."""
    given = config.model_fields_set
    if "augment" not in given and config.data not in SOURCES:
        yield Choice("augment", "crop", "no mirroring: left and right may tell classes apart")
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes))
    ratio = counts.max() / counts.min()
    if "class_weights" not in given and ratio >= IMBALANCE:
        yield Choice("class_weights", "auto", f"the largest class has {ratio:.1f} times as many")


def _epochs(seconds: float, dataset: Dataset, budget: Budget) -> int:
    """How many epochs the budget allows, with so many seconds of training for an image."""
    left = (budget.left() - _closing(seconds, dataset)) * USED
    return int(left / (seconds * (len(dataset.train) + SCORING * len(dataset.val))))


def _closing(seconds: float, dataset: Dataset) -> float:
    """Seconds for scores, export, pictures and report, after the last epoch."""
    return CLOSING_SECONDS + SCORING * seconds * len(dataset.test)
