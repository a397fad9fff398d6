"""The training loop in MindSpore. Loss, optimiser and ``train_step`` are in ``step``."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, float32, nn, ops

from maam.data.preprocessing import Preprocessing
from maam.mindspore.load import load_model
from maam.mindspore.loader import train_batches
from maam.mindspore.maam import AgentFusion
from maam.mindspore.runtime import average_over_ranks, take_from_first
from maam.mindspore.step import (
    NORMS,
    Answers,
    block_chains,
    compute_logits,
    halve,
    keeps_float32,
    make_optimizer,
    make_train_step,
    settle_norms,
)
from maam.mindspore.weights import assign_tensors, read_tensors
from maam.training.checkpoint import NotFinite, TrainingState
from maam.training.distillation import renormalisation
from maam.training.events import EpochTotals, Note
from maam.training.run import TrainingRun, repeated
from maam.training.schedule import average_decay

FLOAT32 = (
    "`--precision amp`: this network trains in float32, for bfloat16 takes a C++ compiler, "
    "channels that are multiples of 16, and layers as they were built, none of them frozen"
)


def fit(run: TrainingRun) -> list[dict[str, Any]]:
    """Train from the first epoch that is not finished to the last one.

    Returns:
        One row per epoch, those of before a resumption too.

    Raises:
        MaamError: numbers that are not finite; all finished epochs are kept.
    """
    config, dataset, net = run.config, run.dataset, run.net
    take_from_first(net.get_parameters())  # of one's own, they may differ
    scored = _average_of(run) if config.ema else net
    average = list(scored.get_parameters()) if config.ema else []
    optimizer = make_optimizer(net, config)
    parameters = _changing(net, optimizer, average)

    def read() -> dict[str, np.ndarray]:
        _average_statistics(net, scored)
        return read_tensors(parameters)

    state = TrainingState(
        read,
        lambda tensors, source: assign_tensors(parameters, tensors, source),
        run.identity,
    )
    state.load(run.folder, run.ranks.writes)
    teacher = _Teacher(run) if config.teacher else None
    train_step = make_train_step(net, optimizer, config, average, teacher, run.image_weights)

    def train_epoch() -> None:
        epoch, before = state.epoch, run.ranks.part(state.totals)
        net.set_train(True)
        how = run.augmentation_in(epoch)
        what, key = (dataset.train, run.preprocessing, run.batch_size), (config.seed, epoch)
        ranks = {"rank": run.ranks.rank, "world": run.ranks.world}
        batches = partial(train_batches, *what, how, key, config.workers, **ranks)
        whole = partial(train_batches, *what, replace(how, size=None), key, config.workers, **ranks)
        total, correct, seen = before.loss, before.correct, before.images
        start = time.perf_counter() - before.seconds

        def totals() -> EpochTotals:
            return EpochTotals(total, correct, seen, time.perf_counter() - start)

        for number, (images, labels) in enumerate(batches(begin=state.step), state.step):
            decay = average_decay(config.ema, epoch * run.steps + number)
            rates = Tensor(run.rate(state, number), float32), Tensor(decay, float32)
            loss, right = train_step(images, labels, *rates)
            total += float(loss.asnumpy()) * len(labels)
            correct += int(right.asnumpy())
            seen += len(labels)
            run.end_step(state, number + 1, totals)
            run.tell_step(epoch, number, totals())
        sums = totals()
        if passes := run.settling_passes(epoch):
            settle_norms(scored, net, repeated(whole, passes))
        _average_statistics(net, scored)
        logits = compute_logits(scored, run.probe, run.preprocessing)
        weights = {
            name.removeprefix("ema."): array
            for name, array in read_tensors(scored.get_parameters()).items()
        }
        run.end_epoch(state, sums, logits, weights, agent_weights(scored))

    try:
        if config.precision == "amp" and state.epoch < config.epochs and keeps_float32(net):
            run.watch(Note(FLOAT32))
        while state.epoch < config.epochs and not run.stalled(state):
            try:
                train_epoch()
            except NotFinite as error:
                run.roll_back(state, error)
    finally:
        halve(net, False)  # it may be trained further, by other means
    return state.history


def _average_statistics(*nets: nn.Cell) -> None:
    """Let networks have the same running statistics in all processes; a mean of means is theirs."""
    cells = [cell for net in nets for _, cell in net.cells_and_names()]
    norms = {id(cell): cell for cell in cells if isinstance(cell, NORMS)}.values()
    average_over_ranks([p for norm in norms for p in (norm.moving_mean, norm.moving_variance)])


def agent_weights(net: nn.Cell) -> list[list[float]]:
    """The softmaxed fusion scalars, one list per MAAM module; fixed ones are left out."""
    cells = [cell for _, cell in net.cells_and_names() if isinstance(cell, AgentFusion)]
    learned = [cell.alpha for cell in cells if isinstance(cell.alpha, Parameter)]
    return [ops.softmax(alpha, -1).asnumpy().round(6).tolist() for alpha in learned]


class _Teacher(nn.Cell):
    """The network to learn from, for images that are normalised as the student's."""

    def __init__(self, run: TrainingRun) -> None:
        super().__init__()
        net, meta = load_model(run.config.teacher)
        if run.config.precision == "amp":
            for chain in block_chains(net):
                chain.halve_inference()
        self.net = Answers(net)
        preprocessing = Preprocessing.from_dict(meta.preprocessing)
        self.factor, self.summand = map(Tensor, renormalisation(run.preprocessing, preprocessing))
        for parameter in self.net.get_parameters():  # a graph wants names that differ
            parameter.name = f"teacher.{parameter.name}"

    def construct(self, images: Tensor) -> Tensor:
        return self.net(images * self.factor + self.summand)


def _average_of(run: TrainingRun) -> nn.Cell:
    """A network for the moving average of the weights, which begins where they begin."""
    average = copy.deepcopy(run.net)
    for mean in average.get_parameters():
        mean.name = f"ema.{mean.name}"
    return average


def _changing(net: nn.Cell, optimizer: nn.Cell, average: list[Parameter]) -> list[Parameter]:
    """All that changes in training; the learning rate is set anew at every step."""
    of_optimizer = [p for p in optimizer.get_parameters() if not p.name.startswith("learning_rate")]
    parameters = [*net.get_parameters(), *average, *of_optimizer]
    return list({parameter.name: parameter for parameter in parameters}.values())
