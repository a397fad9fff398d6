"""Fold a trained network in PyTorch: the mirror of ``maam.fuse``."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from maam.folding import float32, fold_agents, fold_maam, fold_norms
from maam.torch.checkpoint import assign_tensors, named_tensors, read_tensors
from maam.torch.layers import ConvNorm
from maam.torch.models.maamnet import AgentLayer
from maam.torch.module import MAAM
from maam.variants import SUMS


class FoldedMAAM(MAAM):
    """What ``fuse`` makes of ``MAAM``: no norms, and a plain sum in place of a weighted one.

    Shapes and arguments are those of ``MAAM``.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        _, self.channels, _, _, _, fusion, reduce, _ = self.arguments
        for block in self.agents:
            block.layers = nn.Sequential(
                OrderedDict(
                    (name, _with_bias(layer) if isinstance(layer, nn.Conv2d) else layer)
                    for name, layer in block.get_submodule("layers").named_children()
                    if not isinstance(layer, nn.BatchNorm2d)
                )
            )
        if reduce:
            self.reduce = _without_norm(self.reduce)
        self.sums = fusion in SUMS
        if self.sums:
            self.fusion = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if not self.sums:
            return super().forward(x)
        return self.reduce(agent_sum([agent(x) for agent in self.agents], self.channels))


def agent_sum(blocks: Sequence[Tensor], channels: int) -> Tensor:
    """The sum of all agents: maps (N, agents * channels, H, W) of blocks -> (N, channels, H, W)."""
    total = None
    for block in blocks:
        for agent in block.split(channels, 1) if block.shape[1] > channels else (block,):
            total = agent if total is None else total + agent
    assert total is not None  # a MAAM has an agent
    return total


def fuse(net: nn.Module) -> nn.Module:
    """A copy of a network for inference, its modules folded; exact but for rounding.

    ``MAAM``, ``AgentLayer``, and every ``ConvNorm``, are folded.

    Args:
        net: any network, such as ``create_model`` or ``load_model`` gives it; it stays as it is.
            What has been folded already, or holds none of these, is only copied.

    Returns:
        The copy, in inference mode, on the same device.

    Example:
        >>> net, meta = maam.torch.load_model("runs/digits-maam")
        >>> small = maam.torch.fuse(net)
    """
    net = _folded(copy.deepcopy(net))
    folded: dict[nn.Module, nn.Module] = {}  # a module may have several places
    for parent in list(net.modules()):
        for name, child in list(parent._modules.items()):
            if child is None:
                continue
            if child not in folded:
                folded[child] = _folded(child)
            setattr(parent, name, folded[child])
    return net.eval()


def _folded(module: nn.Module) -> nn.Module:
    """A module with parameters of its own, folded; any other one as it is."""
    if not isinstance(module, (MAAM, ConvNorm, AgentLayer)) or isinstance(module, FoldedMAAM):
        return module
    arrays = read_tensors(named_tensors(module))
    if isinstance(module, MAAM):
        folded: nn.Module = FoldedMAAM(*module.arguments)
        arrays = fold_maam(arrays, module.arguments)
    elif isinstance(module, ConvNorm):
        folded = _without_norm(module)
        arrays = float32(fold_norms(arrays))
    else:
        old = module.agents
        wide, side = old.channels, old.side
        new = nn.Conv2d(wide, wide, side, old.stride, side // 2, groups=wide)
        folded = nn.Sequential(OrderedDict(conv=new, relu=nn.ReLU()))
        arrays = fold_agents(arrays, old.agents)
        arrays = {f"conv.{name}": array for name, array in arrays.items()}
    assign_tensors(named_tensors(folded), arrays, "the folded module")
    like = next(module.parameters())
    return folded.to(like.device, like.dtype, memory_format=torch.channels_last)  # pyright: ignore


def _without_norm(layer: Any) -> nn.Module:
    """A ``ConvNorm`` as convolution with bias and activation, weights still to be filled in."""
    last = nn.ReLU() if layer.norm.relu else layer.activation
    return nn.Sequential(OrderedDict(conv=_with_bias(layer.conv), activation=last))


def _with_bias(conv: Any) -> nn.Conv2d:
    shape = conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding
    return nn.Conv2d(*shape, groups=conv.groups)
