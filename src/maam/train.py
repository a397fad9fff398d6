"""Training: loss, schedule, ``train_step``, and a visible loop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

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

LOSS_SCALE = 1024.0  # keeps small float16 gradients above zero

# Called with the kind of an event (plan, step, epoch, note) and its facts.
Watch = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Result:
    """What ``train`` returns: the run folder and the scores of its best weights."""

    run: Path
    scores: dict[str, Any]
    history: list[dict[str, Any]]


def learning_rates(config: TrainConfig, steps_per_epoch: int) -> np.ndarray:
    """The rate of every step, float32 (epochs * steps_per_epoch,).

    A straight warm-up from 0, then half a cosine to 0 (Loshchilov & Hutter 2017), a straight line
    to 0, or a constant.
    """
    steps = config.epochs * steps_per_epoch
    warmup = min(round(config.warmup_epochs * steps_per_epoch), steps)
    rise = (np.arange(warmup) + 1) / max(warmup, 1)
    progress = np.arange(steps - warmup) / max(steps - warmup, 1)
    fall = {
        "cosine": (1 + np.cos(np.pi * progress)) / 2,
        "triangular": 1 - progress,
        "constant": np.ones_like(progress),
    }[config.schedule]
    return (config.learning_rate * np.concatenate([rise, fall])).astype(np.float32)


def decays(parameter: Parameter) -> bool:
    """Whether weight decay applies: to weights, not to biases, norms and fusion scalars."""
    return parameter.ndim > 1


def make_optimizer(net: nn.Cell, config: TrainConfig, rates: np.ndarray) -> nn.Optimizer:
    """The configured optimiser over all trainable parameters of ``net``."""
    parameters = net.trainable_params()
    coupled = 0.0 if config.optimizer == "adamw" else config.weight_decay
    groups = [
        {"params": [p for p in parameters if decays(p)], "weight_decay": coupled},
        {"params": [p for p in parameters if not decays(p)], "weight_decay": 0.0},
        {"order_params": parameters},
    ]
    groups = [group for group in groups if group.get("params", True)]
    if config.optimizer == "sgd":
        # Not nn.Momentum, which ignores use_nesterov on CPU.
        momentum = config.momentum
        return nn.SGD(groups, rates.tolist(), momentum=momentum, nesterov=momentum > 0)
    return nn.Adam(groups, rates.tolist(), beta1=config.momentum)


def make_train_step(
    net: nn.Cell, optimizer: nn.Optimizer, config: TrainConfig, average: Sequence[Parameter] = ()
) -> Callable:
    """One training step: (images, labels, rate) -> (mean loss, number of correct answers).

    Args:
        net: the network, float32 (N, C, H, W) -> logits (N, K).
        optimizer: updates the trainable parameters of ``net``.
        config: label smoothing, clipping, decay, averaging, precision and mode.
        average: one parameter per parameter of ``net``, updated to their moving average.
    """
    amp = config.precision == "amp"
    forward_net = ms.amp.auto_mixed_precision(net, "O2") if amp else net
    scale = LOSS_SCALE if amp else 1.0
    loss_function = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
    live = ParameterTuple(net.get_parameters())
    averages = ParameterTuple(average)
    decayed = ParameterTuple([p for p in net.trainable_params() if decays(p)])
    decoupled = config.weight_decay if config.optimizer == "adamw" else 0.0
    clip_norm, ema = config.clip_norm, config.ema

    def forward(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = forward_net(images).astype(ms.float32)
        return loss_function(logits, labels) * scale, logits

    differentiate = ms.value_and_grad(forward, None, optimizer.parameters, has_aux=True)

    def step(images: Tensor, labels: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        (loss, logits), gradients = differentiate(images, labels)
        if scale != 1:
            gradients = tuple([gradient / scale for gradient in gradients])
        if clip_norm > 0:
            gradients = ops.clip_by_global_norm(gradients, clip_norm)
        if decoupled > 0:
            for parameter in decayed:
                ops.assign(parameter, parameter * (1 - rate * decoupled))
        loss = ops.depend(loss / scale, optimizer(gradients))
        if ema > 0:
            # A young average forgets its random start: the decay grows towards its final value.
            count = optimizer.global_step.astype(ms.float32)
            decay = ops.minimum(Tensor(ema, ms.float32), (1 + count) / (10 + count))
            for parameter, mean in zip(live, averages):  # noqa: B905 - graphs know no strict
                ops.assign(mean, mean * decay + parameter * (1 - decay))
        correct = (logits.argmax(1) == labels).sum()
        return loss, correct

    return ms.jit(step) if config.mode == "graph" else step


def train(
    config: TrainConfig | None = None,
    *,
    recipe: Path | str | None = None,
    resume: Path | str | None = None,
    watch: Watch = lambda kind, facts: None,
    **options: Any,
) -> Result:
    """Train a model, keep its best and last weights, and score the best on the test split.

    Args:
        config: all options; or give them by name.
        recipe: a TOML file of options, which ``options`` override.
        resume: a run folder to go on with; only the options in ``config.RESUMABLE`` may change.
        watch: told of the plan, each step and each epoch, e.g. to show progress.
        options: fields of ``TrainConfig``.

    Example:
        >>> result = maam.train(data="digits", model="maam", epochs=5)
        >>> result.scores["accuracy"]

    Raises:
        MaamError: bad options or data, or a loss that is not finite; all finished epochs are kept.
    """
    folder = Path(resume) if resume is not None else None
    config = config or resolve(options, recipe, folder)
    backend.set_device(config.device, config.mode)
    backend.set_seed(config.seed)
    dataset = _dataset(config, watch)
    batch_size = min(config.batch_size, len(dataset.train))
    steps = len(dataset.train) // batch_size
    preprocessing = Preprocessing.fit(dataset.train.images, config.normalize)
    augment = dataset.augment if config.augment == "auto" else config.augment
    (height, width), channels = preprocessing.size, preprocessing.channels

    net = create_model(config.model, len(dataset.classes), channels, (height, width))
    scored = net  # the network whose weights are the result
    if config.ema:
        scored = create_model(config.model, len(dataset.classes), channels, (height, width))
        for mean, live in zip(scored.get_parameters(), net.get_parameters(), strict=True):
            ops.assign(mean, live)
    rates = learning_rates(config, steps)
    optimizer = make_optimizer(net, config, rates)
    average = list(scored.get_parameters()) if config.ema else []
    for parameter in average:
        parameter.name = f"ema.{parameter.name}"

    macs = count_macs(net, (channels, height, width))
    meta = {
        "format": checkpoint.FORMAT,
        "model": config.model,
        "classes": list(dataset.classes),
        "preprocessing": preprocessing.to_dict(),
        "parameters": count_parameters(net),
        "macs": macs,
        "data": config.data,
        "data_source": dataset.source,
        "images": {"train": len(dataset.train), "val": len(dataset.val), "test": len(dataset.test)},
        "config": config.model_dump(mode="json", exclude_none=True, exclude={"out"}),
        "environment": backend.environment(),
    }
    state = checkpoint.TrainingState(net, optimizer, average)
    if folder is None:
        folder = checkpoint.new_run_folder(config.out, config.data, config.model)
    else:
        state.load(folder)
    write_atomic(folder / CONFIG, to_toml(config.model_copy(update={"out": None})))
    write_atomic(folder / "environment.json", json.dumps(meta["environment"], indent=1) + "\n")
    checkpoint.write_meta(folder, meta)
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
                raise _not_finite(loss, epoch, number, folder, state)
            total += loss * len(labels)
            correct += int(correct_tensor.asnumpy())
            seen += len(labels)
            facts = {"loss": total / seen, "accuracy": correct / seen}
            rate_now = seen / (time.perf_counter() - start)
            watch("step", {"epoch": epoch, "step": number, "images_per_second": rate_now, **facts})
        seconds = time.perf_counter() - start

        row = {
            "epoch": epoch + 1,
            "train_loss": total / seen,
            "train_accuracy": correct / seen,
            "val_loss": None,
            "val_accuracy": None,
            "learning_rate": float(rates[epoch * steps + steps - 1]),
            "seconds": round(seconds, 3),
            "images_per_second": round(seen / seconds, 1),
            "agent_weights": agent_weights(scored),
        }
        if len(dataset.val):
            scores = score(
                compute_logits(scored, dataset.val, preprocessing),
                dataset.val.labels,
                dataset.classes,
            )
            row["val_loss"], row["val_accuracy"] = scores["loss"], scores["accuracy"]
        state.finish(row)
        if state.best_epoch == row["epoch"]:
            _save_weights(scored, folder, row)
        state.save(folder)
        write_history(state.history, folder)
        watch("epoch", row)

    result_net, _ = checkpoint.load_model(folder)
    scores = finish_run(folder, meta, result_net, dataset, preprocessing, state.history, augment)
    return Result(folder, scores, state.history)


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
    return dataset if config.limit is None else dataset.limit(config.limit, config.seed)


def _not_finite(
    loss: float, epoch: int, step: int, folder: Path, state: checkpoint.TrainingState
) -> MaamError:
    kept = (
        f"epoch {state.epoch} is kept in {folder / checkpoint.LAST}"
        if state.epoch
        else "no epoch was finished"
    )
    return MaamError(
        f"the loss became {loss} in epoch {epoch + 1}, step {step + 1}; {kept}: "
        "train with a lower --learning-rate or with --clip-norm 1"
    )
