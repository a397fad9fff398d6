"""Fold a trained network: the same logits from fewer operations, in MindSpore.

``folding.py`` has the algebra, and says what was left out because it would be slower.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence

from mindspore import Tensor, nn, ops

from maam.checkpoint import assign_tensors
from maam.convolution import Conv2d
from maam.folding import float32, fold_agents, fold_maam, fold_norms
from maam.layers import ConvNorm, NormReLU
from maam.models.maamnet import AgentLayer
from maam.module import MAAM, AgentExcitation, enlarge
from maam.variants import SUMS, agent_layers, agent_runs


class FoldedBlock(nn.Cell):
    """``AgentBlock`` without norms: convolution with bias, pooling, ReLU. Same arguments."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        reading: str,
        agents: int,
        pool: bool,
        resolution: int,
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.halve = 2 if pool else 1
        self.shrink = nn.AvgPool2d(resolution, resolution, pad_mode="same")
        pool = pool and resolution == 1
        layers: OrderedDict[str, nn.Cell] = OrderedDict()
        plan = agent_layers(in_channels, out_channels, reading, agents, pool)
        for number, (channels, width, groups, pools) in enumerate(plan, 1):
            layers[f"conv{number}"] = Conv2d(channels, width, kernel_size, groups, bias=True)
            if pools:
                layers[f"pool{number}"] = nn.MaxPool2d(2, 2)
            layers[f"relu{number}"] = nn.ReLU()
        self.layers = nn.SequentialCell(layers)

    def construct(self, x: Tensor) -> Tensor:
        if self.resolution == 1:
            return self.layers(x)
        height, width = x.shape[2] // self.halve, x.shape[3] // self.halve
        coarse = self.layers(self.shrink(x))
        return enlarge(coarse, self.resolution // self.halve, height, width)


class FoldedMAAM(nn.Cell):
    """What ``fuse`` makes of ``MAAM``: convolutions, a plain sum, a 1x1 convolution.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H // 2, W // 2), or H x W when ``pool`` is
    false.

    Args:
        as ``MAAM``; "learned" and "fixed" are the same here, since the weights are folded in.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_sizes: Sequence[int] = (3, 3, 3),
        reading: str = "p2",
        pool: bool = True,
        fusion: str = "learned",
        reduce: bool = True,
        resolutions: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.channels = out_channels
        self.agents = nn.CellList(
            [
                FoldedBlock(in_channels, out_channels, kernel, reading, count, pool, resolution)
                for (kernel, resolution), count in agent_runs(kernel_sizes, resolutions)
            ]
        )
        count = len(kernel_sizes)
        self.sums = fusion in SUMS
        squeeze = fusion == "squeeze"
        self.fusion = AgentExcitation(count, out_channels) if squeeze else nn.Identity()
        self.reduce = nn.Identity()
        if reduce:
            width = out_channels * (count if fusion == "concat" else 1)
            conv = Conv2d(width, out_channels, 1, bias=True)
            self.reduce = nn.SequentialCell(OrderedDict(conv=conv, relu=nn.ReLU()))

    def construct(self, x: Tensor) -> Tensor:
        maps = ()
        for agent in self.agents:
            maps = (*maps, agent(x))
        if self.sums:
            return self.reduce(agent_sum(maps, self.channels))
        stacked = maps[0] if len(maps) == 1 else ops.concat(maps, 1)
        return self.reduce(self.fusion(stacked))


def agent_sum(blocks: tuple[Tensor, ...], channels: int) -> Tensor:
    """The sum of all agents: maps (N, agents * channels, H, W) of blocks -> (N, channels, H, W)."""
    total = None
    for block in blocks:
        for agent in ops.split(block, channels, 1) if block.shape[1] > channels else (block,):
            total = agent if total is None else total + agent
    return total


def fuse(net: nn.Cell) -> nn.Cell:
    """A copy of a network for inference, its modules folded; exact but for rounding.

    ``MAAM``, ``AgentLayer``, and every convolution with a norm of its own, are folded.

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
    arrays = {name: parameter.asnumpy() for name, parameter in module.parameters_and_names()}
    if isinstance(module, MAAM):
        folded: nn.Cell = FoldedMAAM(*module.arguments)
        arrays = fold_maam(arrays, module.arguments)
    elif isinstance(module, ConvNorm):
        old = module.conv
        side, same = old.kernel_size, {"pad_mode": "pad", "padding": old.padding}
        conv = nn.Conv2d(
            *(old.in_channels, old.out_channels, side, old.stride),
            group=old.group,
            has_bias=True,
            **same,
        )
        last = nn.ReLU() if isinstance(module.norm, NormReLU) else module.activation
        folded = nn.SequentialCell(OrderedDict(conv=conv, activation=last))
        arrays = float32(fold_norms(arrays))
    elif isinstance(module, AgentLayer):
        old = module.agents
        width, groups = old.out_channels, 1 if old.dense else old.in_channels
        conv = nn.Conv2d(
            *(old.in_channels, width, old.side, old.stride, "pad", old.side // 2),
            group=groups,
            has_bias=True,
        )
        layers = OrderedDict(conv=conv, pool=module.norm.pool, relu=nn.ReLU())
        folded = nn.SequentialCell(layers)
        arrays = fold_agents(arrays, old.agents)
        arrays = {f"conv.{name}": array for name, array in arrays.items()}
    else:
        return module
    for name, parameter in folded.parameters_and_names():
        parameter.name = name
    assign_tensors(folded.get_parameters(), arrays, "the folded module")
    for name, parameter in folded.parameters_and_names():
        parameter.name = prefix + name
    return folded


def _replace(parent: nn.Cell, name: str, child: nn.Cell) -> None:
    names = [parameter.name for parameter in child.get_parameters()]
    if isinstance(parent, (nn.SequentialCell, nn.CellList)):
        parent[list(parent._cells).index(name)] = child
    else:
        setattr(parent, name, child)
    for parameter, whole in zip(child.get_parameters(), names, strict=True):
        parameter.name = whole  # MindSpore has put the child's name before it once more
