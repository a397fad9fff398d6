"""The training loop in PyTorch. Loss, optimiser and ``train_step`` are in ``step``."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maam.data.preprocessing import Preprocessing
from maam.data.sources.packed import PackedSplit
from maam.torch.fold import fuse
from maam.torch.load import load_model
from maam.torch.loader import train_batches
from maam.torch.maam import AgentFusion
from maam.torch.runtime import average_over_ranks, current_device, place, take_from_first
from maam.torch.step import (
    compute_logits,
    make_optimizer,
    make_train_step,
    set_training,
    settle_norms,
    update_average,
)
from maam.torch.weights import assign_tensors, batch_counts, named_tensors, read_tensors
from maam.training.checkpoint import NotFinite, TrainingState
from maam.training.distillation import renormalisation
from maam.training.events import EpochTotals
from maam.training.run import TrainingRun, repeated
from maam.training.schedule import average_decay

REPORT = 20  # steps between looks at the loss: each look waits for the device

NUMBER = "=number"


def fit(run: TrainingRun) -> list[dict[str, Any]]:
    """Train from the first epoch that is not finished to the last one.

    Returns:
        One row per epoch, those of before a resumption too.

    Raises:
        MaamError: numbers that are not finite; all finished epochs are kept.
    """
    config, device = run.config, current_device()
    net = place(run.net)
    take_from_first([*net.parameters(), *net.buffers()])  # of one's own, they may differ
    scored = place(_average_of(run)) if config.ema else net
    live, means = named_tensors(net), named_tensors(scored)
    optimizer = make_optimizer(net, config)
    counts = batch_counts(net) | (batch_counts(scored, "ema.") if config.ema else {})
    changing = live | (named_tensors(scored, "ema.") if config.ema else {}) | counts

    def read() -> dict[str, np.ndarray]:
        _average_statistics(net, scored)
        return read_tensors(changing | _slots(live, optimizer))

    state = TrainingState(
        read,
        # An older run has no counts.
        lambda tensors, source: _restore(
            changing, live, optimizer, read_tensors(counts) | dict(tensors), source
        ),
        run.identity,
    )
    state.load(run.folder, run.ranks.writes)
    train = run.dataset.train
    packed = isinstance(train, PackedSplit)
    images = train if packed else torch.from_numpy(train.pixels()).to(device)
    labels = torch.from_numpy(train.labels).long().to(device)
    teacher = _teacher(run) if config.teacher else None
    train_step = make_train_step(net, optimizer, config, teacher, run.image_weights)

    def train_epoch() -> None:
        epoch, before = state.epoch, run.ranks.part(state.totals)
        set_training(net)
        key = (config.seed, epoch)
        how = run.augmentation_in(epoch)
        what = images, labels, run.preprocessing, run.batch_size
        ranks = {"rank": run.ranks.rank, "world": run.ranks.world}
        batches = partial(train_batches, *what, how, key, **ranks)
        whole = partial(train_batches, *what, replace(how, size=None), key, **ranks)
        total = torch.tensor(before.loss, device=device)
        correct = torch.tensor(float(before.correct), device=device)
        seen, start = before.images, time.perf_counter() - before.seconds

        def totals() -> EpochTotals:
            seconds = time.perf_counter() - start
            return EpochTotals(total.item(), int(correct.item()), seen, seconds)

        for number, (inputs, answers) in enumerate(batches(state.step), state.step):
            loss, right = train_step(inputs, answers, run.rate(state, number))
            if config.ema:
                decay = average_decay(config.ema, epoch * run.steps + number)
                update_average(means, live, decay)
            total += loss * len(inputs)
            correct += right
            seen += len(inputs)
            run.end_step(state, number + 1, totals)
            if number % REPORT == 0 or number == run.steps - 1:
                run.tell_step(epoch, number, totals())
        sums = totals()
        if passes := run.settling_passes(epoch):
            settle_norms(scored, net, repeated(whole, passes))
        _average_statistics(net, scored)
        logits = compute_logits(scored, run.probe, run.preprocessing)
        run.end_epoch(state, sums, logits, read_tensors(means), agent_weights(scored))

    while state.epoch < config.epochs and not run.stalled(state):
        try:
            train_epoch()
        except NotFinite as error:
            run.roll_back(state, error)
    return state.history


def _average_statistics(*nets: nn.Module) -> None:
    """Let networks have the same running statistics in all processes; a mean of means is theirs."""
    buffers = {id(buffer): buffer for net in nets for buffer in net.buffers()}
    average_over_ranks(buffers.values())


def agent_weights(net: nn.Module) -> list[list[float]]:
    """The softmaxed fusion scalars, one list per MAAM module; fixed ones are left out."""
    fusions = [module for module in net.modules() if isinstance(module, AgentFusion)]
    learned = [fusion.alpha for fusion in fusions if isinstance(fusion.alpha, nn.Parameter)]
    return [alpha.detach().softmax(0).cpu().numpy().round(6).tolist() for alpha in learned]


def _teacher(run: TrainingRun) -> Callable[[Tensor], Tensor]:
    """The network to learn from, for images that are normalised as the student's."""
    net, meta = load_model(run.config.teacher)
    folded = fuse(net)  # the same answers but for rounding, sooner
    preprocessing = Preprocessing.from_dict(meta.preprocessing)
    factor, summand = (
        torch.from_numpy(array).to(current_device())
        for array in renormalisation(run.preprocessing, preprocessing)
    )
    return lambda images: folded(images * factor + summand)


def _average_of(run: TrainingRun) -> nn.Module:
    """A network for the moving average of the weights, which begins where they begin."""
    return copy.deepcopy(run.net).requires_grad_(False)


def _slots(live: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimiser keeps from step to step, by name; nothing before its first one. A plain
    number's slot ends in ``NUMBER``.
    """
    slots = {}
    for name, tensor in live.items():
        for slot, value in optimizer.state.get(tensor, {}).items():
            if isinstance(value, Tensor):
                slots[f"{slot}.{name}"] = value
            elif type(value) in (int, float) and math.isfinite(value):
                kind = torch.int64 if type(value) is int else torch.float64
                slots[f"{slot}{NUMBER}.{name}"] = torch.tensor(value, dtype=kind)
    return slots


def _restore(
    changing: Mapping[str, Tensor],
    live: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    arrays: Mapping[str, np.ndarray],
    source: str,
) -> None:
    """Set ``changing``, and the optimiser's tensors, which are all others.

    Raises:
        MaamError: as ``assign_tensors``; nothing has been changed then.
    """
    slots: dict[str, dict[str, Any]] = {}  # of each parameter
    others = dict(arrays)
    for key in arrays.keys() - changing.keys():
        slot, _, name = key.partition(".")
        if name in live:
            value = torch.from_numpy(others.pop(key))
            if slot.endswith(NUMBER):
                value = value.item()
            elif value.ndim and value.shape == live[name].shape:
                # In the parameter's memory format, as the optimiser has made it.
                value = torch.empty_like(live[name]).copy_(value)
            slots.setdefault(name, {})[slot.removesuffix(NUMBER)] = value
    assign_tensors(changing, others, source)
    names = {tensor: name for name, tensor in live.items()}
    order = [names[tensor] for group in optimizer.param_groups for tensor in group["params"]]
    state = {number: slots[name] for number, name in enumerate(order) if name in slots}
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
