"""Fold a trained network: the same logits from fewer operations, in MindSpore.

``folding.py`` has the algebra, and says what was left out because it would be slower.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

from mindspore import Tensor, nn, ops

from maam.checkpoint import assign_tensors
from maam.folding import float32, fold_agents, fold_maam, fold_norms
from maam.layers import ConvNorm, NormReLU
from maam.models.maamnet import AgentLayer
from maam.module import MAAM
from maam.variants import SUMS


class FoldedMAAM(MAAM):
    """What ``fuse`` makes of ``MAAM``: no norms, and a plain sum in place of a weighted one.

    Shapes and arguments are those of ``MAAM``.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        _, self.channels, _, _, _, fusion, reduce, _ = self.arguments
        for block in self.agents:
            layers: OrderedDict[str, nn.Cell] = OrderedDict()
            for name, layer in block.layers.name_cells().items():
                if isinstance(layer, NormReLU):
                    layers[name.replace("norm", "pool")] = layer.pool
                    layers[name.replace("norm", "relu")] = nn.ReLU()
                else:
                    layers[name] = _with_bias(layer)
            block.layers = nn.SequentialCell(layers)
        if reduce:
            self.reduce = _without_norm(self.reduce)
        self.sums = fusion in SUMS
        if self.sums:
            self.fusion = nn.Identity()

    def construct(self, x: Tensor) -> Tensor:
        if not self.sums:
            return super().construct(x)
        maps = ()
        for agent in self.agents:
            maps = (*maps, agent(x))
        return self.reduce(agent_sum(maps, self.channels))


def agent_sum(blocks: tuple[Tensor, ...], channels: int) -> Tensor:
    """The sum of all agents: maps (N, agents * channels, H, W) of blocks -> (N, channels, H, W)."""
    total = None
    for block in blocks:
        for agent in ops.split(block, channels, 1) if block.shape[1] > channels else (block,):
            total = agent if total is None else total + agent
    return total


def fuse(net: nn.Cell) -> nn.Cell:
    """A copy of a network for inference, its modules folded; exact but for rounding.

    ``MAAM``, ``AgentLayer``, and every ``ConvNorm``, are folded.

    Args:
        net: any network, such as ``create_model`` or ``load_model`` gives it; it stays as it is.
            What has been folded already, or holds none of these, is only copied.

    Returns:
        The copy, for which ``set_train(False)`` holds.

    Example:
        >>> net, meta = maam.load_model("runs/digits-maam")
        >>> small = maam.fuse(net)
    """
    net = _folded(copy.deepcopy(net), "")
    for path, parent in list(net.cells_and_names()):
        for name, child in list(parent._cells.items()):
            if child is None:
                continue
            folded = _folded(child, f"{path}.{name}." if path else f"{name}.")
            if folded is not child:
                _replace(parent, name, folded)
    return net.set_train(False)


def _folded(module: nn.Cell, prefix: str) -> nn.Cell:
    """A module folded, its parameters' names starting with ``prefix``; any other one as it is."""
    if not isinstance(module, (MAAM, ConvNorm, AgentLayer)) or isinstance(module, FoldedMAAM):
        return module
    arrays = {name: parameter.asnumpy() for name, parameter in module.parameters_and_names()}
    if isinstance(module, MAAM):
        folded: nn.Cell = FoldedMAAM(*module.arguments)
        arrays = fold_maam(arrays, module.arguments)
    elif isinstance(module, ConvNorm):
        folded = _without_norm(module)
        arrays = float32(fold_norms(arrays))
    else:
        old = module.agents
        wide, side = old.channels, old.side
        shape = wide, wide, side, old.stride, "pad", side // 2
        conv = nn.Conv2d(*shape, group=wide, has_bias=True)
        folded = nn.SequentialCell(OrderedDict(conv=conv, relu=nn.ReLU()))
        arrays = fold_agents(arrays, old.agents)
        arrays = {f"conv.{name}": array for name, array in arrays.items()}
    for name, parameter in folded.parameters_and_names():
        parameter.name = name
    assign_tensors(folded.get_parameters(), arrays, "the folded module")
    for name, parameter in folded.parameters_and_names():
        parameter.name = prefix + name
    return folded


def _without_norm(layer: Any) -> nn.Cell:
    """A ``ConvNorm`` as convolution with bias and activation, weights still to be filled in."""
    last = nn.ReLU() if isinstance(layer.norm, NormReLU) else layer.activation
    return nn.SequentialCell(OrderedDict(conv=_with_bias(layer.conv), activation=last))


def _with_bias(conv: Any) -> nn.Conv2d:
    shape = conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, "pad", conv.padding
    return nn.Conv2d(*shape, group=conv.group, has_bias=True)


def _replace(parent: nn.Cell, name: str, child: nn.Cell) -> None:
    names = [parameter.name for parameter in child.get_parameters()]
    if isinstance(parent, (nn.SequentialCell, nn.CellList)):
        parent[list(parent._cells).index(name)] = child
    else:
        setattr(parent, name, child)
    for parameter, whole in zip(child.get_parameters(), names, strict=True):
        parameter.name = whole  # MindSpore has put the child's name before it once more
