"""What a model costs in PyTorch; counted as ``maam.mindspore.cost`` counts."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from maam.core.footprint import Footprint
from maam.core.run_meta import RunMeta
from maam.deploy.c.footprint import estimate
from maam.torch.maam import AgentExcitation, AgentFusion
from maam.torch.models.maamnet import LinearAgents
from maam.torch.runtime import inferring
from maam.torch.weights import get_weights


def count_parameters(net: nn.Module) -> int:
    """Number of values that are trained, or are frozen; statistics are not counted."""
    return sum(parameter.numel() for parameter in net.parameters())


def count_macs(net: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of one image (C, H, W): convolutions, dense layers, LSTM cells, and
    the weighted sum of the agents; norms, activations, pooling and biases are not counted.
    """
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += math.prod(module.weight.shape[1:]) * math.prod(output.shape[1:])
        elif isinstance(module, nn.Linear):
            total += module.weight.numel() * math.prod(output.shape[1:-1])
        elif isinstance(module, nn.LSTMCell):
            total += module.weight_ih.numel() + module.weight_hh.numel()
        elif isinstance(module, LinearAgents):
            total += math.prod(module.kernel().shape[1:]) * math.prod(output.shape[1:])
        elif isinstance(module, (AgentFusion, AgentExcitation)):
            total += math.prod(inputs[0].shape[1:])

    hooks = [module.register_forward_hook(add) for module in net.modules()]
    device = next(net.parameters()).device
    try:
        with inferring(net), torch.inference_mode():
            net(torch.zeros((1, *image_shape), device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return total


def footprint(net: nn.Module, meta: RunMeta) -> Footprint:
    """What a network needs on a microcontroller, as C in int8.

    Args:
        net: the network, trained or not, folded or not.
        meta: its model, classes and image size.

    Raises:
        MaamError: C is not written for its model.
    """
    return estimate(meta, get_weights(net))
