"""The training loop in MindSpore. Loss, optimiser and ``train_step`` are in ``step``."""

from __future__ import annotations

import time
from typing import Any

from mindspore import Parameter, Tensor, nn, ops

from maam.checkpoint import assign_tensors, load_model, read_tensors
from maam.data.pipeline import train_batches
from maam.data.transforms import Preprocessing
from maam.job import Job
from maam.models import create_model
from maam.module import AgentFusion
from maam.pretrained import renormalisation
from maam.state import TrainingState
from maam.step import compute_logits, make_optimizer, make_train_step


def fit(job: Job) -> list[dict[str, Any]]:
    """Train from the first epoch that is not finished to the last one.

    Returns:
        One row per epoch, those of before a resumption too.

    Raises:
        MaamError: numbers that are not finite; all finished epochs are kept.
    """
    config, dataset, net = job.config, job.dataset, job.net
    scored = _average_of(job) if config.ema else net
    average = list(scored.get_parameters()) if config.ema else []
    optimizer = make_optimizer(net, config, job.rates)
    parameters = _changing(net, optimizer, average)
    state = TrainingState(
        lambda: read_tensors(parameters),
        lambda found, what: assign_tensors(parameters, found, what),
    )
    job.resume(state)
    teacher = _Teacher(job) if config.teacher else None
    train_step = make_train_step(net, optimizer, config, average, teacher)
    while state.epoch < config.epochs and not job.stalled(state):
        epoch = state.epoch
        net.set_train(True)
        batches = train_batches(
            dataset.train,
            job.preprocessing,
            job.batch_size,
            job.augmentation_in(epoch),
            (config.seed, epoch),
            config.workers,
        )
        total, correct, seen, start = 0.0, 0, 0, time.perf_counter()
        for number, (images, labels) in enumerate(batches):
            rate = Tensor(job.rates[epoch * job.steps + number])
            loss_tensor, correct_tensor = train_step(images, labels, rate)
            loss = float(loss_tensor.asnumpy())
            job.check_loss(loss, epoch, number)
            total += loss * len(labels)
            correct += int(correct_tensor.asnumpy())
            seen += len(labels)
            speed = seen / (time.perf_counter() - start)
            facts = {"loss": total / seen, "accuracy": correct / seen, "images_per_second": speed}
            job.watch("step", {"epoch": epoch, "step": number, **facts})
        totals = (total, correct, seen, time.perf_counter() - start)
        logits = compute_logits(scored, job.probe, job.preprocessing)
        weights = {
            name.removeprefix("ema."): array
            for name, array in read_tensors(scored.get_parameters()).items()
        }
        job.finish_epoch(state, totals, logits, weights, agent_weights(scored))
    return state.history


def agent_weights(net: nn.Cell) -> list[list[float]]:
    """The softmaxed fusion scalars, one list per MAAM module; fixed ones are left out."""
    cells = [cell for _, cell in net.cells_and_names() if isinstance(cell, AgentFusion)]
    learned = [cell.alpha for cell in cells if isinstance(cell.alpha, Parameter)]
    return [ops.softmax(alpha, -1).asnumpy().round(6).tolist() for alpha in learned]


class _Teacher(nn.Cell):
    """The network to learn from, for images that are normalised as the student's."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.net, meta = load_model(job.config.teacher)
        theirs = Preprocessing.from_dict(meta["preprocessing"])
        self.factor, self.summand = map(Tensor, renormalisation(job.preprocessing, theirs))
        for parameter in self.net.get_parameters():  # a graph wants names that differ
            parameter.name = f"teacher.{parameter.name}"

    def construct(self, images: Tensor) -> Tensor:
        return self.net(images * self.factor + self.summand)


def _average_of(job: Job) -> nn.Cell:
    """A network for the moving average of the weights, which begins where they begin."""
    average = job.new_net(create_model)
    for mean, live in zip(average.get_parameters(), job.net.get_parameters(), strict=True):
        ops.assign(mean, live)
        mean.name = f"ema.{mean.name}"
    return average


def _changing(net: nn.Cell, optimizer: nn.Cell, average: list[Parameter]) -> list[Parameter]:
    """All that changes in training; the learning rates are rebuilt from the options."""
    of_optimizer = [p for p in optimizer.get_parameters() if not p.name.startswith("learning_rate")]
    parameters = [*net.get_parameters(), *average, *of_optimizer]
    return list({parameter.name: parameter for parameter in parameters}.values())
