"""Fold a trained network in PyTorch: the mirror of ``maam.fuse``."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maam.folding import float32, fold_agents, fold_maam, fold_norms
from maam.torch.checkpoint import assign_tensors, named_tensors, read_tensors
from maam.torch.layers import ConvNorm
from maam.torch.models.maamnet import AgentLayer
from maam.torch.module import MAAM, AgentExcitation, enlarge, shrink
from maam.variants import SUMS, agent_layers, agent_runs


class FoldedBlock(nn.Module):
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
        pool = pool and resolution == 1
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        plan = agent_layers(in_channels, out_channels, reading, agents, pool)
        for number, (channels, width, groups, pools) in enumerate(plan, 1):
            layers[f"conv{number}"] = nn.Conv2d(
                channels, width, kernel_size, padding=kernel_size // 2, groups=groups
            )
            if pools:
                layers[f"pool{number}"] = nn.MaxPool2d(2, 2)
            layers[f"relu{number}"] = nn.ReLU()
        self.layers = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        if self.resolution == 1:
            return self.layers(x)
        height, width = x.shape[2] // self.halve, x.shape[3] // self.halve
        coarse = self.layers(shrink(x, self.resolution))
        return enlarge(coarse, self.resolution // self.halve, height, width)


class FoldedMAAM(nn.Module):
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
        self.agents = nn.ModuleList(
            FoldedBlock(in_channels, out_channels, kernel, reading, count, pool, resolution)
            for (kernel, resolution), count in agent_runs(kernel_sizes, resolutions)
        )
        count = len(kernel_sizes)
        self.sums = fusion in SUMS
        squeeze = fusion == "squeeze"
        self.fusion = AgentExcitation(count, out_channels) if squeeze else nn.Identity()
        self.reduce = nn.Identity()
        if reduce:
            conv = nn.Conv2d(out_channels * (count if fusion == "concat" else 1), out_channels, 1)
            self.reduce = nn.Sequential(OrderedDict(conv=conv, relu=nn.ReLU()))

    def forward(self, x: Tensor) -> Tensor:
        maps = [agent(x) for agent in self.agents]
        if self.sums:
            return self.reduce(agent_sum(maps, self.channels))
        stacked = maps[0] if len(maps) == 1 else torch.cat(maps, 1)
        return self.reduce(self.fusion(stacked))


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

    ``MAAM``, ``AgentLayer``, and every convolution with a norm of its own, are folded.

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
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            setattr(parent, name, _folded(child))
    return net.eval()


def _folded(module: nn.Module) -> nn.Module:
    """A module with parameters of its own, folded; any other one as it is."""
    if isinstance(module, MAAM):
        folded: nn.Module = FoldedMAAM(*module.arguments)
        arrays = fold_maam(read_tensors(named_tensors(module)), module.arguments)
    elif isinstance(module, ConvNorm):
        old = module.conv
        new = nn.Conv2d(
            *(old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding),  # pyright: ignore[reportArgumentType]
            groups=old.groups,
        )
        last = module.activation
        folded = nn.Sequential(OrderedDict(conv=new, activation=last))
        arrays = float32(fold_norms(read_tensors(named_tensors(module))))
    elif isinstance(module, AgentLayer):
        old = module.agents
        width, side, groups = old.out_channels, old.side, 1 if old.dense else old.in_channels
        new = nn.Conv2d(old.in_channels, width, side, old.stride, side // 2, groups=groups)
        folded = nn.Sequential(OrderedDict(conv=new, pool=module.pool, relu=nn.ReLU()))
        arrays = fold_agents(read_tensors(named_tensors(module)), old.agents)
        arrays = {f"conv.{name}": array for name, array in arrays.items()}
    else:
        return module
    assign_tensors(named_tensors(folded), arrays, "the folded module")
    like = next(module.parameters())
    return folded.to(like.device, like.dtype, memory_format=torch.channels_last)  # pyright: ignore
