"""From images and a time budget to all options of a training, each with its reason.

The rules were tried on held-out images; ``docs/training.md`` says on which and with what result.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maam.core.config import TrainConfig
from maam.core.errors import MaamError
from maam.core.frameworks import Backend
from maam.data import SOURCES, Dataset
from maam.data.files.packs import is_pack
from maam.data.files.tree import Tree, scan
from maam.data.look import suited_size, typical_side
from maam.data.splits import limit
from maam.models.weights import find_run, is_own_run, own_run, sources
from maam.training.budget import Budget, Deadline
from maam.training.commands import planned_command
from maam.training.device_limits import DeviceCheck, device_check
from maam.training.distillation import describe_teacher
from maam.training.events import Choice, Choices, Watch
from maam.training.pace import Pace
from maam.training.setup import load_data

MINUTES = 10.0
MODELS = ("maamnet-tiny", "maamnet-nano")  # the first that the time allows
EPOCHS = (4, 60)  # fewest that a larger model is chosen for; most
STEPS = 300  # fewest in all: smaller batches for few images
BATCHES = (64, 32, 16, 8)
TIMED_BATCH = 32  # images in the steps that are timed
IMBALANCE = 2.0  # largest class to smallest

# Learning rates of Adam for BATCHES[0] images a step, with shipped weights and without; what SGD
# takes them times.
FINE_TUNING, SCRATCH, SGD = 2e-3, 3e-3, 10


def is_planned(config: TrainConfig) -> bool:
    """Whether the options leave anything to plan: those of a folder do, unless they name a model
    and no time."""
    return config.model == "auto" or config.minutes is not None


class Planned(NamedTuple):
    """A training that can begin.

    Attributes:
        config: all options.
        dataset: its images.
        budget: the time that it has.
        deadline: when its last epoch must have ended.
    """

    config: TrainConfig
    dataset: Dataset
    budget: Budget
    deadline: Deadline


def plan(config: TrainConfig, backend: Backend, watch: Watch, began: float) -> Planned:
    """Choose all options that are not given, so that training and scoring end in time.

    Loads the images, and times a few real training steps. Given epochs take as long as they take,
    unless minutes are given too.

    Args:
        config: the given options, and defaults.
        backend: the framework.
        watch: told of downloads and of the choices.
        began: when the time began to count, on ``time.monotonic``'s clock.

    Raises:
        MaamError: no model has the wanted weights, bad data, a teacher that does not fit them, or
            a device that is not there.
    """
    endless = config.minutes is None and "epochs" in config.model_fields_set
    budget = Budget(None if endless else config.minutes or MINUTES, began)
    candidates(config)  # before images are loaded
    backend.set_device(config.device, config.mode)
    path = Path(os.path.expanduser(config.data))
    folder = config.data not in SOURCES and path.exists() and not is_pack(path)
    tree = scan(path) if folder else None
    device = device_check(config, backend, tree.classes) if tree else None
    size = choose_size(config, tree, device) if tree else []
    dataset = load_data(_with(config, size), watch, tree)
    if config.teacher:
        describe_teacher(config.teacher, dataset.classes, dataset.image_shape)
    choices, closing = choose_options(config, dataset, backend, budget)
    config = _with(config, [*size, *choices]).model_copy(update={"minutes": None})
    if config.limit is not None:
        dataset = limit(dataset, config.limit, config.seed)
    choices = (*size, *choices)
    watch(Choices(budget.minutes, choices, planned_command(config), closing))
    last = max(budget.end - closing, time.monotonic() + budget.least)
    return Planned(config, dataset, budget, Deadline(last))


def _with(config: TrainConfig, choices: Iterable[Choice]) -> TrainConfig:
    return config.model_copy(update={choice.option: choice.value for choice in choices})


def candidates(config: TrainConfig) -> tuple[str, ...]:
    """The models to choose from, the best first.

    Raises:
        MaamError: none has the wanted weights.
    """
    if config.model != "auto":
        return (config.model,)
    if not config.pretrained:
        return MODELS
    if is_own_run(config.weights):
        return (own_run(config.weights).read_meta().model,)
    models = tuple(model for model in MODELS if config.weights in sources(model))
    if not models:
        raise MaamError(
            f"`weights={config.weights}`: no such weights of {' or '.join(MODELS)} come with "
            "maam: leave it out, or name another `model`"
        )
    return models


def choose_size(config: TrainConfig, tree: Tree, device: DeviceCheck | None = None) -> list[Choice]:
    """The image size for a folder; nothing if it is given or no image opens.

    Args:
        config: the given options, and defaults.
        tree: what the folder holds.
        device: the microcontroller that must hold a network for this size, if there is one.

    Raises:
        MaamError: the teacher is no run folder.
    """
    if config.image_size is not None:
        return []
    if config.teacher:
        size = find_run(config.teacher).read_meta().image_shape[-1]
        return [Choice("image_size", size, "the teacher takes images of this size")]
    side = typical_side(tree)
    if side is None:  # the loader says what is wrong
        return []
    size, why = suited_size(side), f"the images have {side} pixels a side"
    models, shape = candidates(config), (size, size, 3)
    if device and not device.fitting(models, shape):
        smaller = device.smaller_size(models, shape)
        if smaller:
            why = f"for {size} pixels a side {models[-1]} needs {device.excess(models[-1], shape)}"
            size = smaller
    return [Choice("image_size", size, why)]


def choose_options(
    config: TrainConfig, dataset: Dataset, backend: Backend, budget: Budget
) -> tuple[list[Choice], float]:
    """All other options that are not given, and the seconds that are kept for what comes after the
    last epoch.

    Args:
        config: the given options, and defaults.
        dataset: the images, in the size that was given or chosen.
        backend: the framework, with its device set.
        budget: what it must end within.
    """
    given = config.model_fields_set - ({"model"} if config.model == "auto" else set())
    pace = Pace(dataset, backend, budget, TIMED_BATCH, given)
    choices: list[Choice] = []
    for rule in (_model, _beginning, _length, _recipe, _for_data):
        made = [choice for choice in rule(config, pace) if choice.option not in given]
        choices += made
        config = _with(config, made)  # the next rule goes by what is given or chosen
    return choices, pace.closing(config)


def _model(config: TrainConfig, pace: Pace) -> Iterator[Choice]:
    """The first model that fits the device, and that the time allows to see each image often
    enough."""
    best, shape = candidates(config)[0], pace.dataset.image_shape
    device = device_check(config, pace.backend, pace.dataset.classes)
    models = device.fitting(candidates(config), shape) if device else candidates(config)
    if device and not models:
        device.check(candidates(config)[-1], shape)
    if config.model != "auto":
        return
    needed = config.epochs if "epochs" in pace.given else EPOCHS[0]
    for model in models:
        tried = config.model_copy(update={"model": model})
        if pace.epochs(tried, settling=BATCHES[-1]) >= needed:
            break
    model = tried.model
    if device and models[0] != best:
        why = f"{best} needs {device.excess(best, shape)}"
    elif model != models[0]:
        why = f"the time allows {models[0]} fewer than {needed:,} epochs"
    elif model != MODELS[0]:
        why = f"it has the weights of {config.weights}"
    else:
        why = f"{1 / pace.seconds(tried):,.0f} images/s here"
    if device:
        why += f"; {model} needs {device.need(model, shape)}"
    yield Choice("model", model, why)


def _beginning(config: TrainConfig, pace: Pace) -> Iterator[Choice]:
    """Whether to begin with shipped weights, and the normalisation."""
    unit = "normalize" in pace.given and config.normalize == "unit"
    pretrained = config.weights in sources(config.model) and not unit
    if pretrained:
        yield Choice("pretrained", True, "its weights know photos already")
    elif unit and sources(config.model):
        yield Choice("pretrained", False, "`normalize=unit`: weights have their own normalisation")
    pretrained = config.pretrained if "pretrained" in pace.given else pretrained
    yield Choice("normalize", "standard", "as the weights" if pretrained else "learns faster")


def _length(config: TrainConfig, pace: Pace) -> Iterator[Choice]:
    """Epochs, images of an epoch, and images of a step."""
    images = len(pace.dataset.train)
    wanted = EPOCHS[1]
    if config.pretrained:
        wanted = min(wanted, max(15, round(20 * math.sqrt(2000 / images))))
    timed = pace.timed_batch(config)
    possible, epochs, some = _fitting(config, pace, timed, wanted)
    batch = next((b for b in BATCHES if epochs * some >= STEPS * b), BATCHES[-1])
    batch = config.batch_size if "batch_size" in pace.given else batch
    if batch < timed and possible < wanted * timed / batch:  # an image takes longer in small steps
        possible, epochs, some = _fitting(config, pace, batch, wanted)
    why = f"the time allows {max(1, int(possible))}" if possible < wanted else "enough"
    yield Choice("epochs", epochs, f"{why} for {some:,} images")
    yield Choice("batch_size", batch, f"{epochs * -(-some // batch):,} steps in all")
    if some < images:
        yield Choice("limit", some, f"the time allows no epoch of all {images:,} images")


def _fitting(config: TrainConfig, pace: Pace, batch: int, wanted: int) -> tuple[float, int, int]:
    """With so many images a step: epochs of all images that the time allows, epochs to do, at most
    ``wanted``, and images of one."""
    possible, images = pace.epochs(config, batch), len(pace.dataset.train)
    epochs = config.epochs if "epochs" in pace.given else max(1, int(min(possible, wanted)))
    if possible < 1 and "limit" not in pace.given:
        images = min(images, max(len(pace.dataset.classes), pace.images(config, batch)))
    return possible, epochs, images


def _recipe(config: TrainConfig, pace: Pace) -> Iterator[Choice]:
    """The learning rate, and how it begins."""
    rate, why = FINE_TUNING, "for fine-tuning"
    if not config.pretrained:
        rate, why = SCRATCH, "for training from scratch"
    images = min(len(pace.dataset.train), config.limit or math.inf)
    share = min(config.batch_size, images) / BATCHES[0]
    reason = f"{why} with {config.optimizer}"
    if config.optimizer == "sgd":  # in proportion to the batch: Goyal et al. 2017
        yield Choice("learning_rate", round(SGD * rate * share, 6), reason)
    elif config.optimizer in ("adam", "adamw"):
        yield Choice("learning_rate", round(rate * math.sqrt(share), 6), reason)
    why = "the new last layer settles first" if config.pretrained else "the first steps are rough"
    yield Choice("warmup_epochs", round(min(1.0, config.epochs / 8), 2), why)


def _for_data(config: TrainConfig, pace: Pace) -> Iterator[Choice]:
    """What the images themselves ask for."""
    if config.data not in SOURCES:
        yield Choice("augment", "crop", "no mirroring: left and right may tell classes apart")
    counts = np.bincount(pace.dataset.train.labels, minlength=len(pace.dataset.classes))
    ratio = counts.max() / counts.min()
    if ratio >= IMBALANCE:
        yield Choice("class_weights", "auto", f"the largest class has {ratio:.1f} times as many")
