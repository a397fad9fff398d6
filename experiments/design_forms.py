"""MAAMNet in forms that were tried and not all taken, in PyTorch; ``design.py`` trains them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import sqrt
from typing import Any

import torch
from design_dense import DenseAgents
from torch import Tensor, nn

from maam.models.kernels import Agent
from maam.models.variants import AGENTS
from maam.torch.models.maamnet import LinearAgents
from maam.torch.ops.depthwise import depthwise

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}


class NormedAgents(nn.Module):
    """Depthwise agents each with its own BatchNorm before the sum, so with its own map."""

    def __init__(self, channels: int, agents: Sequence[Agent]) -> None:
        super().__init__()
        each = [FixedAgents(channels, [agent], "sum") for agent in agents]
        self.each = nn.ModuleList(each)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in agents)
        self.side = max(agent.side for agent in each)
        self.alpha = nn.Parameter(torch.zeros(len(agents)))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.alpha.softmax(0)
        maps = [norm(agent(x)) for agent, norm in zip(self.each, self.norms, strict=True)]
        return torch.stack([w * each for w, each in zip(weights, maps, strict=True)]).sum(0)


class FixedAgents(LinearAgents):
    """Depthwise agents with fusion weights that are not learned: 1 / agents, or 1 ("sum")."""

    def __init__(self, channels: int, agents: Sequence[Agent], fusion: str) -> None:
        super().__init__(channels, agents)
        self.fusion = None
        self.weight = 1.0 if fusion == "sum" else 1 / len(agents)

    def kernel(self) -> Tensor:
        kernel = self.taps @ self.positions * self.weight
        return kernel.reshape(self.channels, 1, self.side, self.side)


class Block(nn.Module):
    def __init__(self, channels: int, wide: int, halve: bool, form: dict[str, Any]) -> None:
        super().__init__()
        agents, fusion = form["agents"], form["fusion"]
        if form["norms"] == "own":
            self.agents: LinearAgents | NormedAgents = NormedAgents(channels, agents)
        elif fusion == "learned":
            self.agents = LinearAgents(channels, agents)
        else:
            self.agents = FixedAgents(channels, agents, fusion)
        activation = ACTIVATIONS[form["activation"]]
        self.mid: nn.Module = nn.Identity()
        norm_first = form["order"] == "norm first"
        if form["mid"] == "relu":
            norm = nn.BatchNorm2d(channels)
            self.mid = nn.Sequential(
                *((activation(), norm) if norm_first else (norm, activation()))
            )
        self.first = nn.BatchNorm2d(channels) if norm_first else nn.Identity()
        self.stride = 2 if halve and form["pool"] == "stride" else 1
        self.pool = nn.MaxPool2d(2) if halve and self.stride == 1 else nn.Identity()
        self.gated = form["compress"] == "glu"
        width = 2 * channels if self.gated else wide
        self.conv = nn.Conv2d(channels, width, 1, bias=False)
        self.norm = nn.Identity() if norm_first else nn.BatchNorm2d(width)
        self.activation = activation()
        if self.gated:
            self.conv2 = nn.Conv2d(channels, wide, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(wide)
        bare = form["residual"] in ("bare", "scaled")
        fits = channels == wide and not halve
        self.residual = form["residual"] if fits else "none"
        self.last = nn.Identity() if bare else self.activation

    def forward(self, x: Tensor) -> Tensor:
        seen = self.first(x)
        if self.stride == 2 and isinstance(self.agents, LinearAgents):
            maps = depthwise(seen, self.agents.kernel(), 2, quick=self.training)
        else:
            maps = self.pool(self.agents(seen)[:, :, :: self.stride, :: self.stride])
        maps = self.norm(self.conv(self.mid(maps)))
        if self.gated:
            gate, maps = maps.chunk(2, 1)
            maps = self.norm2(self.conv2(self.activation(gate) * maps))
            return x + maps if self.residual != "none" else maps
        if self.residual in ("linear", "bare"):
            return x + maps
        if self.residual == "scaled":
            return (x + maps) / sqrt(2)
        maps = self.last(maps)
        return x + maps if self.residual == "sum" else maps


class Net(nn.Module):
    """A stem, stages of blocks, global average pooling, one dense layer.

    Args:
        num_classes, in_channels, image_size: the shape.
        stages: (channels, blocks) of each; the first block of all but the first halves the size.
        agents: (rows, columns, dilation) of each.
        residual: "sum": X + ReLU(F); "linear": X + F; where the shapes of X and F differ, ReLU(F),
            but F with "bare", which else is as "linear", and "scaled": (X + F) / sqrt(2).
        mid: between fusion and compression: "none" or "relu" (a norm and a ReLU).
        norms: "shared", or "own": a BatchNorm for each agent.
        options: ``pool`` ("max", "stride"), ``fusion`` ("learned", "fixed", "sum"),
            ``activation`` ("relu", "silu", "gelu"), ``order`` ("norm last", "norm first": BatchNorm
            before each convolution, the activation after it), ``compress`` ("plain"; "glu": twice
            as wide, one half gates the other, then 1x1).
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
        stages: Sequence[tuple[int, int]],
        agents: Sequence[Agent] = AGENTS,
        residual: str = "linear",
        mid: str = "relu",
        norms: str = "shared",
        **options: str,
    ) -> None:
        super().__init__()
        form = {"agents": agents, "residual": residual, "mid": mid, "norms": norms}
        form |= {"pool": "max", "fusion": "learned", "activation": "relu", "compress": "plain"}
        form |= {"order": "norm last"} | options
        channels = stages[0][0]
        self.stem = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
                norm=nn.BatchNorm2d(channels),
                activation=ACTIVATIONS[form["activation"]](),
            )
        )
        blocks = []
        for number, (wide, count) in enumerate(stages):
            for index in range(count):
                blocks.append(Block(channels, wide, number > 0 and index == 0, form))
                channels = wide
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


def deployed_cost(net: nn.Module, image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Parameters and multiply-accumulates once all is folded that can be.

    A convolution has its weight and a bias, agents are one depthwise kernel (with a bias if a norm
    follows), and norms are gone, but for those before agents, whose padding is in the way.
    """
    parameters = macs = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal parameters, macs
        _, channels, height, width = (*output.shape, 1, 1)[:4]
        if isinstance(module, nn.Conv2d):
            parameters += module.weight.numel() + channels
            macs += module.weight.numel() * height * width
        elif isinstance(module, nn.Linear):
            parameters += module.weight.numel() + channels
            macs += module.weight.numel()
        elif isinstance(module, DenseAgents):
            parameters += (9 * inputs[0].shape[1] + 1) * channels
            macs += 9 * inputs[0].shape[1] * channels * height * width
        elif isinstance(module, Block):
            agents = module.agents
            side, inside = agents.side, inputs[0].shape
            first = isinstance(module.first, nn.BatchNorm2d)
            follows = not (first or isinstance(module.mid, nn.Identity))
            normed = isinstance(agents, NormedAgents) or follows
            parameters += inside[1] * (side**2 + normed + 2 * first)
            area = inside[2] * inside[3] // module.stride**2
            macs += inside[1] * side**2 * area

    hooks = [module.register_forward_hook(add) for module in net.modules()]
    with torch.inference_mode():
        net.eval()(torch.zeros((1, *image_shape)))
    for hook in hooks:
        hook.remove()
    return parameters, macs
