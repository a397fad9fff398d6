"""What a model costs in MindSpore: parameters and multiply-accumulates."""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import nn

from maam.core.footprint import Footprint
from maam.core.run_meta import RunMeta
from maam.deploy.c.footprint import estimate
from maam.mindspore.maam import AgentExcitation, AgentFusion
from maam.mindspore.models.maamnet import LinearAgents
from maam.mindspore.runtime import inferring
from maam.mindspore.weights import get_weights

STATISTICS = ("moving_mean", "moving_variance")  # of norms


def count_parameters(net: nn.Cell) -> int:
    """Number of values that are trained, or are frozen; statistics are not counted."""
    return sum(
        parameter.size
        for parameter in net.get_parameters()
        if not parameter.name.endswith(STATISTICS)
    )


def count_macs(net: nn.Cell, image_shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of one image (C, H, W): convolutions, dense layers, LSTM cells, and
    the weighted sum of the agents; norms, activations, pooling and biases are not counted.
    """
    total = 0

    def add(cell: nn.Cell, inputs: tuple, output: ms.Tensor) -> None:
        nonlocal total
        if isinstance(cell, nn.Conv2d):
            total += math.prod(cell.weight.shape[1:]) * math.prod(output.shape[1:])
        elif isinstance(cell, nn.Dense):
            total += cell.weight.size * math.prod(output.shape[1:-1])
        elif isinstance(cell, nn.LSTMCell):
            total += cell.weight_ih.size + cell.weight_hh.size
        elif isinstance(cell, LinearAgents):
            total += math.prod(cell.kernel().shape[1:]) * math.prod(output.shape[1:])
        elif isinstance(cell, (AgentFusion, AgentExcitation)):
            total += math.prod(inputs[0].shape[1:])

    counted = (nn.Conv2d, nn.Dense, nn.LSTMCell, LinearAgents, AgentFusion, AgentExcitation)
    hooks = [
        cell.register_forward_hook(add)
        for _, cell in net.cells_and_names()
        if isinstance(cell, counted)
    ]
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)  # a compiled network calls no hooks
    try:
        with inferring(net):
            net(ms.Tensor(np.zeros((1, *image_shape), np.float32)))
    finally:
        ms.set_context(mode=mode)
        for hook in hooks:
            hook.remove()
    return total


def footprint(net: nn.Cell, meta: RunMeta) -> Footprint:
    """What a network needs on a microcontroller, as C in int8.

    Args:
        net: the network, trained or not, folded or not.
        meta: its model, classes and image size.

    Raises:
        MaamError: C is not written for its model.
    """
    return estimate(meta, get_weights(net))
