"""Training: a visible loop. Loss, schedule, optimiser and ``train_step`` are in ``step``."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from maam import backend, checkpoint
from maam.benchmark import count_macs, count_parameters
from maam.config import CONFIG, TrainConfig, resolve, to_toml
from maam.data import Dataset, load_dataset
from maam.data.pipeline import train_batches
from maam.data.transforms import Preprocessing
from maam.errors import MaamError
from maam.evaluate import compute_logits, score
from maam.files import write_atomic
from maam.finish import finish_run
from maam.models import create_model
from maam.module import AgentFusion
from maam.report import write_history
from maam.step import learning_rates, make_optimizer, make_train_step

# Called with the kind of an event (plan, step, epoch, note) and its facts.
Watch = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Result:
    """What ``train`` returns: the run folder and the scores of its best weights."""

    run: Path
    scores: dict[str, Any]
    history: list[dict[str, Any]]


def train(
    *,
    recipe: Path | str | None = None,
    resume: Path | str | None = None,
    watch: Watch = lambda kind, facts: None,
    **options: Any,
) -> Result:
    """Train a model, keep its best and last weights, and score the best on the test split.

    Sets MindSpore's device and mode for the process, and its seed.

    Args:
        recipe: a TOML file of options, which ``options`` override.
        resume: a run folder to go on with; only the options in ``config.RESUMABLE`` may change.
        watch: told of the plan, each step and each epoch, e.g. to show progress.
        options: fields of ``TrainConfig``.

    Example:
        >>> result = maam.train(data="digits", model="maam", epochs=5)
        >>> result.scores["accuracy"]

    Raises:
        MaamError: bad options or data, or numbers that are not finite; all finished epochs are
            kept.
    """
    folder = Path(resume) if resume is not None else None
    config = resolve(options, recipe, folder)
    backend.set_device(config.device, config.mode)
    backend.set_seed(config.seed)
    dataset = _dataset(config, watch)
    preprocessing = Preprocessing.fit(dataset.train.images, config.normalize)
    augment = dataset.augment if config.augment == "auto" else config.augment
    batch_size = min(config.batch_size, len(dataset.train))
    steps = len(dataset.train) // batch_size

    net, scored = _networks(config, dataset)
    average = [] if scored is net else list(scored.get_parameters())
    rates = learning_rates(config, steps)
    optimizer = make_optimizer(net, config, rates)
    state = checkpoint.TrainingState(net, optimizer, average)
    meta = _facts(config, dataset, preprocessing, net)
    if folder is None:
        folder = checkpoint.new_run_folder(config.out, config.data, config.model)
    else:
        _go_on(folder, state, meta, config)
    _write_facts(folder, config, meta)
    plan = {"run": folder, "steps": steps, "batch_size": batch_size, "augment": augment}
    watch("plan", {**meta, **plan, "skipped": dataset.skipped})

    train_step = make_train_step(net, optimizer, config, average)
    for epoch in range(state.epoch, config.epochs):
        if state.stalled(config.early_stopping):
            watch("note", {"text": f"no better epoch in {config.early_stopping}: stopped early"})
            break
        net.set_train(True)
        batches = train_batches(
            dataset.train, preprocessing, batch_size, augment, (config.seed, epoch), config.workers
        )
        total, correct, seen, start = 0.0, 0, 0, time.perf_counter()
        for number, (images, labels) in enumerate(batches):
            rate = Tensor(rates[epoch * steps + number])
            loss_tensor, correct_tensor = train_step(images, labels, rate)
            loss = float(loss_tensor.asnumpy())
            if not math.isfinite(loss):
                raise _not_finite(f"the loss became {loss} in step {number + 1}", folder, state)
            total += loss * len(labels)
            correct += int(correct_tensor.asnumpy())
            seen += len(labels)
            speed = seen / (time.perf_counter() - start)
            facts = {"loss": total / seen, "accuracy": correct / seen, "images_per_second": speed}
            watch("step", {"epoch": epoch, "step": number, **facts})
        seconds = time.perf_counter() - start

        # The last update has not been through the loss yet: look at what will be kept.
        probe = dataset.val if len(dataset.val) else dataset.train.take(np.arange(batch_size))
        logits = compute_logits(scored, probe, preprocessing)
        if not (np.isfinite(logits).all() and state.finite()):
            raise _not_finite("the weights are no longer usable", folder, state)
        val = score(logits, probe.labels, dataset.classes) if len(dataset.val) else {}
        row = {
            "epoch": epoch + 1,
            "train_loss": total / seen,
            "train_accuracy": correct / seen,
            "val_loss": val.get("loss"),
            "val_accuracy": val.get("accuracy"),
            "learning_rate": float(rates[epoch * steps + steps - 1]),
            "seconds": round(seconds, 3),
            "images_per_second": round(seen / seconds, 1),
            "agent_weights": agent_weights(scored),
        }
        state.finish(row)
        if state.best_epoch == row["epoch"]:
            _save_weights(scored, folder, row)
        state.save(folder)
        write_history(state.history, folder)
        watch("epoch", row)

    best, _ = checkpoint.load_model(folder)
    scores = finish_run(folder, meta, best, dataset, preprocessing, state.history, augment)
    return Result(folder, scores, state.history)


def _networks(config: TrainConfig, dataset: Dataset) -> tuple[nn.Cell, nn.Cell]:
    """The network that is trained, and the one whose weights are the result: it, or its average."""
    height, width, channels = dataset.image_shape
    shape = (config.model, len(dataset.classes), channels, (height, width))
    net = create_model(*shape)
    if not config.ema:
        return net, net
    average = create_model(*shape)
    for mean, live in zip(average.get_parameters(), net.get_parameters(), strict=True):
        ops.assign(mean, live)
        mean.name = f"ema.{mean.name}"
    return net, average


def _facts(
    config: TrainConfig, dataset: Dataset, preprocessing: Preprocessing, net: nn.Cell
) -> dict[str, Any]:
    """What is known about a run before its first step."""
    height, width, channels = dataset.image_shape
    return {
        "format": checkpoint.FORMAT,
        "model": config.model,
        "classes": list(dataset.classes),
        "preprocessing": preprocessing.to_dict(),
        "parameters": count_parameters(net),
        "macs": count_macs(net, (channels, height, width)),
        "data": config.data,
        "data_source": dataset.source,
        "data_digests": dataset.digests(),
        "images": {"train": len(dataset.train), "val": len(dataset.val), "test": len(dataset.test)},
        "config": config.model_dump(mode="json", exclude_none=True, exclude={"out"}),
        "environment": backend.environment(),
    }


def _go_on(
    folder: Path, state: checkpoint.TrainingState, meta: dict[str, Any], config: TrainConfig
) -> None:
    """Load the state of a run to resume; one that was cut in its first epoch starts anew."""
    before = checkpoint.read_meta(folder)
    if before.get("data_digests") != meta["data_digests"]:
        raise MaamError(
            f"--resume {folder}: the images of {meta['data']} are not those it was trained on: "
            "bring them back, or train anew"
        )
    if (folder / checkpoint.LAST).exists():
        state.load(folder)
    if config.epochs < state.epoch:
        raise MaamError(f"--epochs {config.epochs}: {folder} has {state.epoch} epochs already")
    write_history(state.history, folder)


def _write_facts(folder: Path, config: TrainConfig, meta: dict[str, Any]) -> None:
    write_atomic(folder / CONFIG, to_toml(config.model_copy(update={"out": None})))
    write_atomic(folder / "environment.json", json.dumps(meta["environment"], indent=1) + "\n")
    checkpoint.write_meta(folder, meta)


def agent_weights(net: nn.Cell) -> list[list[float]]:
    """The softmaxed fusion scalars, one list per MAAM module; fixed ones are left out."""
    cells = [cell for _, cell in net.cells_and_names() if isinstance(cell, AgentFusion)]
    learned = [cell.alpha for cell in cells if isinstance(cell.alpha, Parameter)]
    return [ops.softmax(alpha, -1).asnumpy().round(6).tolist() for alpha in learned]


def _save_weights(net: nn.Cell, folder: Path, row: dict[str, Any]) -> None:
    tensors = checkpoint.read_tensors(net.get_parameters())
    tensors = {name.removeprefix("ema."): array for name, array in tensors.items()}
    checkpoint.save_tensors(folder / checkpoint.BEST, tensors, {"epoch": row["epoch"]})


def _dataset(config: TrainConfig, watch: Watch) -> Dataset:
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


def _not_finite(what: str, folder: Path, state: checkpoint.TrainingState) -> MaamError:
    kept = (
        f"epoch {state.epoch} is kept in {folder / checkpoint.LAST}"
        if state.epoch
        else f"no epoch was finished, so {folder} can be deleted"
    )
    return MaamError(
        f"in epoch {state.epoch + 1} {what}; {kept}: "
        "train anew with a lower --learning-rate or with --clip-norm 1"
    )
