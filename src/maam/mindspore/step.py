"""One training step in MindSpore: loss, optimiser, ``train_step``; and inference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from maam.core.config import TrainConfig
from maam.core.errors import MaamError
from maam.core.signals import check_signals
from maam.data.base import Split
from maam.data.preprocessing import Preprocessing
from maam.mindspore.loader import eval_batches
from maam.mindspore.models.maamnet import Block
from maam.mindspore.ops import aot
from maam.mindspore.ops.chain import Chain
from maam.mindspore.runtime import inferring, mixed, world_size
from maam.training.freezing import frozen_names
from maam.training.schedule import OPTIMIZERS

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
LOSS_SCALE = 1024.0  # keeps small float16 gradients above zero


def decays(parameter: Parameter) -> bool:
    """Whether weight decay applies: to weights, not to biases, norms and fusion scalars."""
    return parameter.ndim > 1


def freeze(net: nn.Cell, patterns: str) -> None:
    """Take parameters out of training; a norm whose gamma is frozen uses its stored statistics.

    Raises:
        MaamError: as ``frozen_names``.
    """
    parameters = {parameter.name: parameter for parameter in net.trainable_params()}
    frozen = frozen_names(patterns, list(parameters))
    for name in frozen:
        parameters[name].requires_grad = False
    for _, cell in net.cells_and_names():
        if isinstance(cell, NORMS) and cell.gamma.name in frozen:
            cell.use_batch_statistics = False


def make_optimizer(net: nn.Cell, config: TrainConfig) -> nn.Optimizer:
    """The configured optimiser over all trainable parameters of ``net``; ``train_step`` sets its
    rate.

    Raises:
        MaamError: it is registered for another framework only.
    """
    parameters = net.trainable_params()
    coupled = 0.0 if config.optimizer == "adamw" else config.weight_decay
    groups = [
        {"params": [p for p in parameters if decays(p)], "weight_decay": coupled},
        {"params": [p for p in parameters if not decays(p)], "weight_decay": 0.0},
        {"order_params": parameters},
    ]
    make = _optimizers.get(config.optimizer)
    if make is None:
        raise MaamError(f"`optimizer={config.optimizer}` is not written for `framework=mindspore`")
    return make([group for group in groups if group.get("params", True)], config)


def _sgd(groups: list[dict[str, Any]], config: TrainConfig) -> nn.Optimizer:
    # Not nn.Momentum, which ignores use_nesterov on CPU.
    momentum = config.momentum
    return nn.SGD(groups, config.learning_rate, momentum=momentum, nesterov=momentum > 0)


def _adam(groups: list[dict[str, Any]], config: TrainConfig) -> nn.Optimizer:
    return nn.Adam(groups, config.learning_rate, beta1=config.momentum)


MakeOptimizer = Callable[[list[dict[str, Any]], TrainConfig], nn.Optimizer]
_optimizers: dict[str, MakeOptimizer] = {"adam": _adam, "adamw": _adam, "sgd": _sgd}


def register_optimizer(name: str, make: MakeOptimizer) -> None:
    """Make an optimiser known by name, for the option ``optimizer``.

    Args:
        name: as the option spells it.
        make: parameter groups, with their weight decay, and the options -> an ``nn.Optimizer``
            whose rate is one number, ``config.learning_rate``; each step sets it anew.

    Raises:
        ValueError: the name is taken.
    """
    if name in _optimizers:
        raise ValueError(f"there is an optimiser {name!r} already")
    _optimizers[name] = make
    OPTIMIZERS.add(name)


def halve(net: nn.Cell, half: bool) -> bool:
    """Let the chains of a MAAMNet on a CPU train in bfloat16, or in float32, as all else of it.

    Returns:
        Whether mixed precision is that for this network; for others it is float16.
    """
    chains = block_chains(net)
    for chain in chains:
        chain.halve(half)
    return half and bool(chains)


def keeps_float32(net: nn.Cell) -> bool:
    """Whether a network that ``halve`` takes trains in float32 all the same, as it is now. Sets it
    to training.
    """
    chains = block_chains(net)
    net.set_train(True)
    return bool(chains) and not (net.chains() and all(chain.half for chain in chains))


def block_chains(net: nn.Cell) -> list[Chain]:
    """The chains of a MAAMNet's blocks on a CPU; none of a subclass, which may not use them."""
    if "by_chains" not in vars(type(net)) or ms.get_context("device_target") != "CPU":
        return []
    return [cell.chain for _, cell in net.cells_and_names() if isinstance(cell, Block)]


def make_train_step(
    net: nn.Cell,
    optimizer: nn.Optimizer,
    config: TrainConfig,
    average: Sequence[Parameter] = (),
    teacher: nn.Cell | None = None,
    image_weights: np.ndarray | None = None,
) -> Callable:
    """One training step: (images, labels, rate, decay) -> (mean loss, number of correct answers).

    Labels are int32 (N,), or float32 (N, K) with the share of each class in a mixed image; rate is
    the optimiser's, and decay the moving average's, both float32 ().

    Args:
        net: the network, float32 (N, C, H, W) -> logits (N, K).
        optimizer: updates the trainable parameters of ``net``.
        config: label smoothing, distillation, clipping, decay, averaging, precision and mode.
        average: one parameter per parameter of ``net``, updated to their moving average.
        teacher: the network to learn from too, in inference mode.
        image_weights: what an image of each class counts in the loss, float32 (K,); None: 1.
    """
    half = halve(net, config.precision == "amp")
    amp = config.precision == "amp" and not half
    forward_net = mixed(net) if amp else net
    scale = LOSS_SCALE if amp else 1.0
    weights = None if image_weights is None else Tensor(image_weights)
    loss_function = nn.CrossEntropyLoss(
        reduction="mean" if weights is None else "none", label_smoothing=config.label_smoothing
    )
    live = ParameterTuple(net.get_parameters())
    averages = ParameterTuple(average)
    decayed = ParameterTuple([p for p in net.trainable_params() if decays(p)])
    decoupled = config.weight_decay if config.optimizer == "adamw" else 0.0
    clip_norm, ema = config.clip_norm, config.ema
    learning_rate = optimizer.learning_rate
    weight, temperature = config.teacher_weight, config.temperature

    def forward(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = forward_net(images).astype(ms.float32)
        loss = loss_function(logits, labels)
        if weights is not None:
            counted = ops.matmul(labels, weights) if labels.ndim > 1 else weights[labels]
            loss = (loss * counted).mean()
        if teacher is not None:
            targets = ops.stop_gradient(teacher(images))
            loss = (1 - weight) * loss + weight * distillation_loss(logits, targets, temperature)
        return loss * scale, logits

    several = world_size() > 1
    reduce = nn.DistributedGradReducer(optimizer.parameters) if several else None
    differentiate = ms.value_and_grad(forward, None, optimizer.parameters, has_aux=True)

    def step(images: Tensor, labels: Tensor, rate: Tensor, decay: Tensor) -> tuple[Tensor, Tensor]:
        (loss, logits), gradients = differentiate(images, labels)
        if reduce is not None:
            gradients = reduce(gradients)
        loss = ops.depend(loss, ops.assign(learning_rate, rate))
        if amp:
            # A gradient that has overflown float16 counts as none.
            usable = ms.amp.all_finite(gradients).astype(ms.float32)
            gradients = tuple(
                [ops.nan_to_num(g, 0.0, 0.0, 0.0) * usable / scale for g in gradients]
            )
        if clip_norm > 0:
            gradients = ops.clip_by_global_norm(gradients, clip_norm)
        if decoupled > 0:
            for parameter in decayed:
                ops.assign(parameter, parameter * (1 - rate * decoupled))
        loss = ops.depend(loss / scale, optimizer(gradients))
        if ema > 0:
            for parameter, mean in zip(live, averages):  # noqa: B905 - graphs know no strict
                # This form leaves the average of a frozen parameter as it is, to the last bit.
                ops.assign(mean, mean + (parameter - mean) * (1 - decay))
        answers = labels.argmax(1) if labels.ndim > 1 else labels
        correct = (logits.argmax(1) == answers).sum()
        return loss, correct

    return step if config.mode == "eager" else ms.jit(step)


def distillation_loss(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """The mean Kullback-Leibler divergence KL(teacher || student) of softened answers.

    It is multiplied by the squared temperature, so that its gradients keep their size.

    Args:
        logits: of the student (N, K).
        targets: logits of the teacher (N, K).
        temperature: what both are divided by.

    Source: Hinton et al. 2015, arXiv 1503.02531.
    """
    student = ops.log_softmax(logits / temperature, 1)
    guide = ops.log_softmax(targets / temperature, 1)
    each = (ops.exp(guide) * (guide - student)).sum(1)
    return temperature**2 * each.mean()


def settle_norms(net: nn.Cell, like: nn.Cell, batches: Iterable[Tensor]) -> None:
    """Let the running statistics of a network's norms follow its weights, which stay as they are.

    Args:
        net: the network.
        like: of the same shape; where its norms are frozen, those of ``net`` stay too.
        batches: images, float32 (N, C, H, W).
    """
    pairs = zip(net.cells_and_names(), like.cells_and_names(), strict=True)
    norms = [(norm, other) for (_, norm), (_, other) in pairs if isinstance(norm, NORMS)]
    if not norms:
        return
    net.set_train(True)
    for norm, other in norms:
        norm.use_batch_statistics = other.use_batch_statistics
    for images in batches:
        net(images)
        check_signals()


class Answers(nn.Cell):
    """A network in inference mode, by chains where it has them, which take less time.

    ``set_train(False)`` holds when it is called. It has no gradients, and hooks of the network's
    layers are not called.

    Shapes: as those of the network. Its parameters are the network's own, by their names there.

    Args:
        net: the network.
    """

    def __init__(self, net: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.net = net
        self.own = "by_chains" in vars(type(net))  # a subclass may compute something else

    def construct(self, x: Tensor) -> Tensor:
        if self.own and self.net.native and aot.takes(x) and self.net.chains():
            return self.net.by_chains(x)
        return self.net(x)


_latest: list[Answers] = []


def _answers_of(net: nn.Cell) -> Answers:
    """The ``Answers`` of a network: one that is scored again and again is compiled once."""
    if not (_latest and _latest[0].net is net):
        _latest[:] = [Answers(net)]
    return _latest[0]


def compute_logits(
    net: nn.Cell, split: Split, preprocessing: Preprocessing, batch_size: int = 250
) -> np.ndarray:
    """The logits of all images of a split, in order, in inference mode: float32 (N, K)."""
    answers, logits = _answers_of(net), []
    with inferring(net):
        answers.set_train(False)
        for images, _ in eval_batches(split, preprocessing, batch_size):
            logits.append(answers(images).asnumpy())
            check_signals()
    return np.concatenate(logits)


def inference(net: nn.Cell) -> Callable[[np.ndarray], np.ndarray]:
    """A network in inference mode as a function: float32 (N, C, H, W), normalised -> (N, K)."""
    net.set_train(False)
    return lambda images: net(Tensor(images)).asnumpy()
