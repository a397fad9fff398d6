"""A training before its first step: data, network, schedule, and the folder it writes to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from maam import backend, checkpoint
from maam.config import CONFIG, RESUMABLE, TrainConfig
from maam.data import Dataset, Split, load_dataset
from maam.data.transforms import Augmentation, Preprocessing
from maam.errors import MaamError
from maam.evaluate import loss_and_accuracy
from maam.files import write_atomic
from maam.pretrained import SEEN, rests_on, saw_validation, take_weights, teacher_facts
from maam.recipe import resolve, to_toml
from maam.report import write_history
from maam.schedule import learning_rates
from maam.state import TrainingState, finished_epochs, stages

FINISHED = ("environment", "device", "metrics", "deployed")  # what ``finish_run`` ends with

# Called with the kind of an event (plan, step, epoch, note) and its facts.
Watch = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Job:
    """All that is fixed before the first step.

    Attributes:
        config: the options.
        folder: where the run is written.
        dataset: the images.
        preprocessing: how pixels become numbers.
        augmentation: how training images vary, before ``mix_until``.
        batch_size: images in a step; not more than there are.
        rates: the learning rate of every step, float32 (epochs * steps,).
        net: the network before training, an ``nn.Cell`` or ``nn.Module``; frozen in part if
            so configured.
        meta: the facts for ``meta.json``.
        watch: told of the plan, of steps and of epochs.
    """

    config: TrainConfig
    folder: Path
    dataset: Dataset
    preprocessing: Preprocessing
    augmentation: Augmentation
    batch_size: int
    rates: np.ndarray
    net: Any
    meta: dict[str, Any]
    watch: Watch

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return len(self.dataset.train) // self.batch_size

    @property
    def probe(self) -> Split:
        """What is scored after each epoch: validation images, or else a few training images."""
        val, train = self.dataset.val, self.dataset.train
        return val if len(val) else train.take(np.arange(self.batch_size))

    def augmentation_in(self, epoch: int) -> Augmentation:
        """How training images vary in an epoch."""
        mixed = epoch < self.config.mix_until * self.config.epochs
        return self.augmentation if mixed else replace(self.augmentation, mixup=0.0, cutmix=0.0)

    def new_net(self, create_model: Callable[..., Any]) -> Any:
        """Another network of the same shape."""
        return _new_net(create_model, self.config, self.dataset)

    def resume(self, state: TrainingState) -> None:
        """Load what an earlier part of the run has left; nothing, if that ended in epoch 1."""
        if (self.folder / checkpoint.LAST).exists():
            state.load(self.folder)
        if state.history:
            write_history(state.history, self.folder)

    def check_loss(self, loss: float, epoch: int, step: int) -> None:
        """Stop at a loss that is not finite.

        Raises:
            MaamError: it is not.
        """
        if not np.isfinite(loss):
            raise self._not_finite(epoch, f"the loss became {loss} by step {step + 1}")

    def finish_epoch(
        self,
        state: TrainingState,
        totals: tuple[float, int, int, float],
        logits: np.ndarray,
        weights: dict[str, np.ndarray],
        agent_weights: list[list[float]],
    ) -> None:
        """Score an epoch, and write its row, the state and, if it is the best, the weights.

        Args:
            state: what is written.
            totals: sum of the training losses, correct answers, images seen, seconds.
            logits: of ``probe``, from the network that counts.
            weights: of that network.
            agent_weights: its softmaxed fusion scalars, one list per MAAM module.

        Raises:
            MaamError: a number is not finite; the epochs before are kept.
        """
        loss, correct, seen, seconds = totals
        epoch = state.epoch
        # The last update has not been through the loss yet: look at what will be kept.
        if not np.isfinite(logits).all():
            raise self._not_finite(epoch, "the weights are no longer usable")
        validated = len(self.dataset.val) > 0
        val_loss, val_accuracy = loss_and_accuracy(logits, self.probe.labels)
        row = {
            "epoch": epoch + 1,
            "train_loss": loss / seen,
            "train_accuracy": correct / seen,
            "val_loss": val_loss if validated else None,
            "val_accuracy": val_accuracy if validated else None,
            "learning_rate": float(self.rates[epoch * self.steps + self.steps - 1]),
            "seconds": round(seconds, 3),
            "images_per_second": round(seen / seconds, 1),
            "agent_weights": agent_weights,
        }
        if not state.finish(self.folder, row, weights):
            raise self._not_finite(epoch, "the weights are no longer usable")
        self.watch("epoch", row)

    def stalled(self, state: TrainingState) -> bool:
        """Whether to stop early, and says so."""
        patience = self.config.early_stopping
        stop = state.stalled(patience)
        if stop:
            self.watch("note", {"text": f"no better epoch in {patience}: stopped early"})
        return stop

    def _not_finite(self, epoch: int, what: str) -> MaamError:
        kept = (
            f"epoch {epoch} is kept in {self.folder / checkpoint.LAST}"
            if epoch
            else f"no epoch was finished, so {self.folder} can be deleted"
        )
        return MaamError(
            f"in epoch {epoch + 1} {what}; {kept}: "
            "train anew with a lower --learning-rate or with --clip-norm 1"
        )


def check_begun(folder: Path, wanted: TrainConfig) -> bool:
    """Whether a training was begun in ``folder``, with the wanted options.

    Raises:
        MaamError: it was begun with others than where and how fast to compute.
    """
    if not (folder / checkpoint.META).exists():
        return False
    before = resolve({}, run=folder)
    for key in type(wanted).model_fields:
        if key in {*RESUMABLE - {"epochs", "teacher"}, "out"}:
            continue
        old, new = getattr(before, key), getattr(wanted, key)
        if key == "teacher":  # it may lie elsewhere now; `prepare` looks at its weights
            old, new = Path(old).name, Path(new).name
        if old != new:
            raise MaamError(
                f"{folder} was begun with {key} = {old}, not {new}: use another folder, or delete "
                "this one"
            )
    return True


def prepare(config: TrainConfig, resume: Path | None, framework: Any, watch: Watch) -> Job:
    """Set device and seed, load the data, build the network, and make or check the run folder.

    Args:
        config: the resolved options.
        resume: the run folder to go on with, or None for a new one.
        framework: ``maam.mindspore`` or ``maam.torch``.
        watch: told of the plan and of downloads.

    Raises:
        MaamError: bad options or data, or images other than the run began with.
    """
    device = framework.set_device(config.device, config.mode)
    framework.set_seed(config.seed)
    earlier_networks = rests_on(config)  # before a download
    dataset = _load(config, watch)
    net = _new_net(framework.create_model, config, dataset)
    preprocessing = Preprocessing.fit(dataset.train.images, config.normalize)
    if config.pretrained:
        preprocessing = take_weights(framework, net, config.model, preprocessing, dataset.classes)
    kind = dataset.augment if config.augment == "auto" else config.augment
    batch_size = min(config.batch_size, len(dataset.train))
    height, width, channels = dataset.image_shape
    meta = {
        "format": checkpoint.FORMAT,
        "model": config.model,
        "classes": list(dataset.classes),
        "preprocessing": preprocessing.to_dict(),
        "parameters": framework.count_parameters(net),
        "macs": framework.count_macs(net, (channels, height, width)),
        "data": config.data,
        "data_source": dataset.source,
        "data_digests": dataset.digests(),
        "images": {"train": len(dataset.train), "val": len(dataset.val), "test": len(dataset.test)},
        "device": device,
        "config": config.model_dump(mode="json", exclude_none=True, exclude={"out"}),
        "environment": backend.environment(),
    }
    if any(saw_validation(network, meta) for network in earlier_networks):
        watch("note", {"text": SEEN})
    if config.teacher:
        meta["teacher"] = teacher_facts(config.teacher, dataset.classes, dataset.image_shape)
    framework.freeze(net, config.freeze)  # only now: a frozen parameter counts for the size too
    if resume is None:
        folder = checkpoint.new_run_folder(config.out, config.data, config.model)
    else:
        folder, before = resume, checkpoint.read_meta(resume)
        trained = finished_epochs(folder)
        if trained > config.epochs:
            raise MaamError(f"--epochs {config.epochs}: {folder} has {trained} epochs already")
        if trained == config.epochs:
            # It has been trained: where, and how well, stays true.
            meta |= {key: before[key] for key in FINISHED if key in before}
        if earlier := stages(before, config.epochs, trained):
            meta["stages"] = earlier
        if before.get("data_digests") != meta["data_digests"]:
            raise MaamError(
                f"--resume {folder}: the images of {config.data} are not those it was trained on: "
                "bring them back, or train anew"
            )
        if before.get("teacher", {}).get("weights") != meta.get("teacher", {}).get("weights"):
            raise MaamError(
                f"--resume {folder}: --teacher is not the network it began to learn from"
            )
        if Preprocessing.from_dict(before["preprocessing"]) != preprocessing:
            raise MaamError(f"--resume {folder}: it began with other --pretrained weights")
    return Job(
        config=config,
        folder=folder,
        dataset=dataset,
        preprocessing=preprocessing,
        augmentation=Augmentation(kind, config.mixup, config.cutmix, len(dataset.classes)),
        batch_size=batch_size,
        rates=learning_rates(config, len(dataset.train) // batch_size),
        net=net,
        meta=meta,
        watch=watch,
    )


def write_facts(job: Job) -> None:
    """Write what is known before the first step: options, machine, and what the weights need.

    What described other weights than those that will come is deleted.
    """
    if "metrics" not in job.meta:
        for name in (checkpoint.CARD, checkpoint.MODEL):
            (job.folder / name).unlink(missing_ok=True)
    write_atomic(job.folder / CONFIG, to_toml(job.config.model_copy(update={"out": None})))
    environment = json.dumps(job.meta["environment"], indent=1) + "\n"
    write_atomic(job.folder / checkpoint.ENVIRONMENT, environment)
    checkpoint.write_meta(job.folder, job.meta)
    plan = {
        "run": job.folder,
        "steps": job.steps,
        "batch_size": job.batch_size,
        "augment": job.augmentation.kind,
        "skipped": job.dataset.skipped,
    }
    job.watch("plan", {**job.meta, **plan})


def _new_net(create_model: Callable[..., Any], config: TrainConfig, dataset: Dataset) -> Any:
    height, width, channels = dataset.image_shape
    return create_model(config.model, len(dataset.classes), channels, (height, width))


def _load(config: TrainConfig, watch: Watch) -> Dataset:
    def progress(done: int, total: int | None) -> None:
        watch("download", {"done": done, "total": total})

    dataset = load_dataset(
        config.data, config.data_dir, config.image_size, config.val_fraction, config.seed, progress
    )
    if config.early_stopping and not len(dataset.val):
        raise MaamError("--early-stopping needs validation images: give --val-fraction above 0")
    if not len(dataset.test) and not len(dataset.val):
        raise MaamError(f"{dataset.source} leaves no images to score on: add some")
    return dataset if config.limit is None else dataset.limit(config.limit, config.seed)
