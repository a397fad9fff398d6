"""One model in MindSpore and in PyTorch, with the same random weights and statistics."""

from __future__ import annotations

import numpy as np
from layered_nets import random_array
from mindspore import nn
from torch import nn as torch_nn

import maam.mindspore
import maam.torch
from maam.mindspore.weights import assign_tensors
from maam.models.registry import list_models
from maam.torch import weights as torch_weights

# So many layers that test_peers.py asks less of them; resnet8 stands for their common parts.
DEEP = ("resnet20", "mobilenetv2-x0.5", "mobilenetv2", "shufflenetv2-x0.5", "separable-resnet")
COMPARED = [name for name in list_models() if name not in DEEP]


def same_weights(
    name: str, num_classes: int, channels: int, size: tuple[int, int], seed: int = 0
) -> tuple[nn.Cell, torch_nn.Module]:
    """The named model in both frameworks."""
    shape = (name, num_classes, channels, size)
    net, other = maam.mindspore.create_model(*shape), maam.torch.create_model(*shape)
    randomise(net, other, seed)
    return net, other


def randomise(net: nn.Cell, other: torch_nn.Module, seed: int) -> None:
    """Give both the same random values: norms with gammas of both signs and odd statistics."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for parameter in net.get_parameters():
        name, shape = parameter.name, tuple(parameter.shape)
        arrays[name] = random_array(name, shape, rng)
    assign_tensors(net.get_parameters(), arrays, "random")
    torch_weights.assign_tensors(torch_weights.named_tensors(other), arrays, "random")
