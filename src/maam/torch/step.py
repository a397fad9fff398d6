"""One training step in PyTorch: loss, optimiser, ``train_step``; and inference."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maam.core.config import TrainConfig
from maam.core.errors import MaamError
from maam.core.signals import check_signals
from maam.data.base import Split
from maam.data.preprocessing import Preprocessing
from maam.torch.graphs import compiled, recorded, records
from maam.torch.loader import input_maker
from maam.torch.runtime import inferring, world_size
from maam.torch.weights import NORMS, named_tensors
from maam.training.freezing import frozen_names
from maam.training.schedule import OPTIMIZERS

# What PyTorch says -> what a user can do.
_REFUSALS = {
    "more than 1 value per channel": (
        "this network can't train on one image a step: raise `batch_size`"
    ),
    "training graph has changed": (
        "processes that train together need a network that uses the same layers in every step: "
        "train it in one process"
    ),
}


def decays(parameter: Tensor) -> bool:
    """Whether weight decay applies: to weights, not to biases, norms and fusion scalars."""
    return parameter.ndim > 1


def freeze(net: nn.Module, patterns: str) -> None:
    """Take parameters out of training; ``set_training`` does the rest for norms.

    Raises:
        MaamError: as ``frozen_names``.
    """
    parameters = {name: p for name, p in named_tensors(net).items() if p.requires_grad}
    for name in frozen_names(patterns, list(parameters)):
        parameters[name].requires_grad_(False)


def set_training(net: nn.Module) -> None:
    """Training mode, but a norm whose gamma is frozen uses its stored statistics."""
    net.train()
    for module in net.modules():
        if isinstance(module, NORMS) and _is_frozen(module):
            module.eval()


def _is_frozen(norm: nn.Module) -> bool:
    """Whether a norm has a gamma that is not trained."""
    return isinstance(norm.weight, Tensor) and not norm.weight.requires_grad


def make_optimizer(net: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The configured optimiser over all trainable parameters of ``net``.

    Raises:
        MaamError: it is registered for another framework only.
    """
    parameters = [p for p in net.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if decays(p)], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if not decays(p)], "weight_decay": 0.0},
    ]
    make = _optimizers.get(config.optimizer)
    if make is None:
        raise MaamError(f"`optimizer={config.optimizer}` is not written for `framework=torch`")
    return make([group for group in groups if group["params"]], config)


def _sgd(groups: list[dict[str, Any]], config: TrainConfig) -> torch.optim.Optimizer:
    rate, momentum = config.learning_rate, config.momentum
    return torch.optim.SGD(groups, rate, momentum=momentum, nesterov=momentum > 0, fused=True)


def _adam(groups: list[dict[str, Any]], config: TrainConfig) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, config.learning_rate, betas=(config.momentum, 0.999), fused=True)


MakeOptimizer = Callable[[list[dict[str, Any]], TrainConfig], torch.optim.Optimizer]
_optimizers: dict[str, MakeOptimizer] = {"adam": _adam, "adamw": _adam, "sgd": _sgd}


def register_optimizer(name: str, make: MakeOptimizer) -> None:
    """Make an optimiser known by name, for the option ``optimizer``.

    Args:
        name: as the option spells it.
        make: parameter groups, with their weight decay, and the options -> an optimiser; each step
            sets its rate anew.

    Raises:
        ValueError: the name is taken.
    """
    if name in _optimizers:
        raise ValueError(f"there is an optimiser {name!r} already")
    _optimizers[name] = make
    OPTIMIZERS.add(name)


def make_train_step(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    teacher: Callable[[Tensor], Tensor] | None = None,
    image_weights: np.ndarray | None = None,
) -> Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]:
    """One training step: (images, labels, rate) -> (mean loss, number of correct answers).

    Labels are int64 (N,), or float32 (N, K) with the share of each class in a mixed image. The
    answers stay on the device, so that a step does not wait for the one before.

    Args:
        net: the network in training mode, float32 (N, C, H, W) -> logits (N, K).
        optimizer: updates the trainable parameters of ``net``.
        config: label smoothing, distillation, clipping, precision and mode.
        teacher: gives the logits to learn too, by a network in inference mode.
        image_weights: what an image of each class counts in the loss, float32 (K,); None: 1.

    Raises:
        MaamError: by the step, if a norm gets one value per channel, or several processes use other
            layers than in the first step.
    """
    parameters = list(net.parameters())
    device = parameters[0].device
    several = world_size() > 1
    graphs = records(config, device) and not several
    whole = _parallel(net) if several else net
    forward = recorded(net) if graphs else compiled(whole) if config.mode == "graph" else whole
    amp, smoothing = config.precision == "amp", config.label_smoothing
    autocast = partial(torch.autocast, device.type, torch.bfloat16, amp, cache_enabled=not graphs)
    weight = config.teacher_weight
    weights = None
    if image_weights is not None:
        weights = torch.from_numpy(image_weights).to(device)

    def step(images: Tensor, labels: Tensor, rate: float) -> tuple[Tensor, Tensor]:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        try:
            with autocast():
                logits = forward(images)
        except (ValueError, RuntimeError) as error:
            text = next((said for told, said in _REFUSALS.items() if told in str(error)), None)
            if text is None:
                raise
            raise MaamError(text) from error
        if weights is None:
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
        else:
            each = F.cross_entropy(
                logits.float(), labels, reduction="none", label_smoothing=smoothing
            )
            loss = (each * (labels @ weights if labels.ndim > 1 else weights[labels])).mean()
        if teacher is not None:
            with torch.no_grad(), autocast():
                targets = teacher(images)
            loss = torch.lerp(loss, distillation_loss(logits, targets, config.temperature), weight)
        loss.backward()
        if config.clip_norm > 0:
            nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        optimizer.step()
        answers = labels.argmax(1) if labels.ndim > 1 else labels
        return loss.detach(), (logits.detach().argmax(1) == answers).sum()

    return step


def _parallel(net: nn.Module) -> nn.Module:
    """The network with gradients averaged over all processes; its statistics stay its own."""
    with warnings.catch_warnings():  # the new name of an argument, which older versions don't know
        warnings.simplefilter("ignore", FutureWarning)
        return nn.parallel.DistributedDataParallel(net, broadcast_buffers=False, static_graph=True)


def distillation_loss(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """The mean Kullback-Leibler divergence KL(teacher || student) of softened answers.

    It is multiplied by the squared temperature, so that its gradients keep their size.

    Args:
        logits: of the student (N, K).
        targets: logits of the teacher (N, K).
        temperature: what both are divided by.

    Source: Hinton et al. 2015, arXiv 1503.02531.
    """
    student, guide = (F.log_softmax(z.float() / temperature, 1) for z in (logits, targets))
    return temperature**2 * F.kl_div(student, guide, reduction="batchmean", log_target=True)


@torch.no_grad()
def update_average(means: Mapping[str, Tensor], live: Mapping[str, Tensor], decay: float) -> None:
    """Move every mean towards its live tensor: ``decay`` of it stays. Whole numbers are copied."""
    # A tensor that has two names is moved once.
    pairs = {id(mean): (mean, live[name]) for name, mean in means.items()}.values()
    floats = [pair for pair in pairs if pair[0].is_floating_point()]
    # One launch for all, as PyTorch's own optimisers do it.
    torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
        [mean for mean, _ in floats], [tensor for _, tensor in floats], 1 - decay
    )
    for mean, tensor in pairs:
        if not mean.is_floating_point():
            mean.copy_(tensor)


@torch.no_grad()
def settle_norms(net: nn.Module, like: nn.Module, batches: Iterable[Tensor]) -> None:
    """Let the running statistics of a network's norms follow its weights, which stay as they are.

    Args:
        net: the network.
        like: of the same shape; where its norms are frozen, those of ``net`` stay too.
        batches: images, float32 (N, C, H, W).
    """
    pairs = zip(net.modules(), like.modules(), strict=True)
    norms = [(norm, other) for norm, other in pairs if isinstance(norm, NORMS)]
    if not norms:
        return
    net.train()
    for norm, other in norms:
        if _is_frozen(other):
            norm.eval()
    for images in batches:
        net(images)
        check_signals()


def compute_logits(
    net: nn.Module, split: Split, preprocessing: Preprocessing, batch_size: int = 250
) -> np.ndarray:
    """The logits of all images of a split, in order, in inference mode: float32 (N, K)."""
    device = next(net.parameters()).device
    to_input, logits = input_maker(preprocessing, device), []
    with inferring(net), torch.inference_mode():
        for images, _ in split.batches(batch_size):
            logits.append(net(to_input(torch.from_numpy(images).to(device))).cpu())
            check_signals()
    return torch.cat(logits).numpy()


def inference(net: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    """A network in inference mode as a function: float32 (N, C, H, W), normalised -> (N, K)."""
    net.eval()
    device = next(net.parameters()).device

    def logits_of(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            inputs = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
            return net(inputs).cpu().numpy()

    return logits_of
