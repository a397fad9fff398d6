"""The training loop in PyTorch. Loss, optimiser and ``train_step`` are in ``step``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from maam.data.transforms import Preprocessing
from maam.job import Job
from maam.pretrained import renormalisation
from maam.state import TrainingState
from maam.torch.backend import current_device, place
from maam.torch.checkpoint import assign_tensors, load_model, named_tensors, read_tensors
from maam.torch.models import create_model
from maam.torch.module import AgentFusion
from maam.torch.pipeline import train_batches
from maam.torch.step import (
    compute_logits,
    make_optimizer,
    make_train_step,
    set_training,
    update_average,
)

REPORT = 20  # steps between looks at the loss: each look waits for the device


def fit(job: Job) -> list[dict[str, Any]]:
    """Train from the first epoch that is not finished to the last one.

    Returns:
        One row per epoch, those of before a resumption too.

    Raises:
        MaamError: numbers that are not finite; all finished epochs are kept.
    """
    config, device = job.config, current_device()
    net = place(job.net)
    scored = place(_average_of(job)) if config.ema else net
    live, means = named_tensors(net), named_tensors(scored)
    optimizer = make_optimizer(net, config)
    changing = live | (named_tensors(scored, "ema.") if config.ema else {})
    changing |= _slots(net, optimizer)
    state = TrainingState(
        lambda: read_tensors(changing), lambda found, what: assign_tensors(changing, found, what)
    )
    job.resume(state)
    images = torch.from_numpy(job.dataset.train.images).to(device)
    labels = torch.from_numpy(job.dataset.train.labels).long().to(device)
    teacher = _teacher(job) if config.teacher else None
    train_step = make_train_step(net, optimizer, config, teacher)
    while state.epoch < config.epochs and not job.stalled(state):
        epoch = state.epoch
        set_training(net)
        key = (config.seed, epoch)
        augmentation = job.augmentation_in(epoch)
        batches = train_batches(
            images, labels, job.preprocessing, job.batch_size, augmentation, key
        )
        total, correct = torch.zeros((), device=device), torch.zeros((), device=device)
        seen, start = 0, time.perf_counter()
        for number, (inputs, answers) in enumerate(batches):
            done = epoch * job.steps + number
            loss, right = train_step(inputs, answers, float(job.rates[done]))
            if config.ema:
                # A young average forgets its random start: the decay grows towards its end.
                decay = min(config.ema, (2 + done) / (11 + done))
                update_average(list(means.values()), list(live.values()), decay)
            total += loss * len(inputs)
            correct += right
            seen += len(inputs)
            if number % REPORT == 0 or number == job.steps - 1:
                job.check_loss(total.item(), epoch, number)
                speed = seen / (time.perf_counter() - start)
                facts = {"loss": total.item() / seen, "accuracy": correct.item() / seen}
                facts |= {"epoch": epoch, "step": number, "images_per_second": speed}
                job.watch("step", facts)
        totals = (total.item(), int(correct.item()), seen, time.perf_counter() - start)
        logits = compute_logits(scored, job.probe, job.preprocessing)
        job.finish_epoch(state, totals, logits, read_tensors(means), agent_weights(scored))
    return state.history


def agent_weights(net: nn.Module) -> list[list[float]]:
    """The softmaxed fusion scalars, one list per MAAM module; fixed ones are left out."""
    fusions = [module for module in net.modules() if isinstance(module, AgentFusion)]
    learned = [fusion.alpha for fusion in fusions if isinstance(fusion.alpha, nn.Parameter)]
    return [alpha.detach().softmax(0).cpu().numpy().round(6).tolist() for alpha in learned]


def _teacher(job: Job) -> Callable[[Tensor], Tensor]:
    """The network to learn from, for images that are normalised as the student's."""
    net, meta = load_model(job.config.teacher)
    theirs = Preprocessing.from_dict(meta["preprocessing"])
    factor, summand = (
        torch.from_numpy(array).to(current_device())
        for array in renormalisation(job.preprocessing, theirs)
    )
    return lambda images: net(images * factor + summand)


def _average_of(job: Job) -> nn.Module:
    """A network for the moving average of the weights, which begins where they begin."""
    average = job.new_net(create_model)
    average.load_state_dict(job.net.state_dict())
    return average.requires_grad_(False)


def _slots(net: nn.Module, optimizer: torch.optim.Optimizer) -> Mapping[str, Tensor]:
    """The optimiser's tensors by name, made as its first step would make them."""
    named, found = named_tensors(net), {}
    for name, tensor in named.items():
        if not tensor.requires_grad:  # frozen, or a norm's statistics
            continue
        state = optimizer.state[tensor]
        if isinstance(optimizer, torch.optim.SGD):
            # A momentum buffer of zeros takes the first gradient as an absent one does.
            names = ["momentum_buffer"] if optimizer.defaults["momentum"] else []
        else:
            names = ["exp_avg", "exp_avg_sq"]
            state["step"] = torch.zeros((), device=tensor.device)
            found[f"step.{name}"] = state["step"]
        for slot in names:
            state[slot] = torch.zeros_like(tensor, memory_format=torch.preserve_format)
            found[f"{slot}.{name}"] = state[slot]
    return found
