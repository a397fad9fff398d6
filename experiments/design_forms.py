"""MAAMNet in forms that were tried and not all taken, in PyTorch; ``design.py`` trains them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maam.models.kernels import Agent, kernel_layout
from maam.models.variants import AGENTS
from maam.torch.models.maamnet import LinearAgents, MAAMNet
from maam.torch.ops.depthwise import depthwise

DENSE_AGENTS = ((3, 3, 1), (1, 3, 1), (3, 1, 1), (1, 1, 1))
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


class Scheduled(MAAMNet):
    """A MAAMNet whose training changes with the number of steps that it has taken.

    Args:
        num_classes, in_channels, image_size, stages, agents: as of MAAMNet.
        small_steps: so many steps begin the training with images of ``small_side`` pixels.
        small_side: height and width of those.
        frozen_from: from this step on, norms use their stored statistics, and keep them.
    """

    def __init__(
        self,
        *args: Any,
        small_steps: int = 0,
        small_side: int = 24,
        frozen_from: int = 0,
        **shape: Any,
    ) -> None:
        super().__init__(*args, **shape)
        self.steps, self.small_steps, self.side = 0, small_steps, small_side
        self.frozen_from = frozen_from

    def forward(self, x: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled():
            if self.steps < self.small_steps:
                x = F.interpolate(x, (self.side, self.side), mode="bilinear", antialias=True)
            if self.frozen_from and self.steps >= self.frozen_from:
                for module in self.modules():
                    if isinstance(module, nn.BatchNorm2d):
                        module.eval()
            self.steps += 1
        return super().forward(x)


def deployed_cost(net: nn.Module, image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Parameters and multiply-accumulates once all is folded that can be.

    A convolution has its weight and a bias, agents are one depthwise kernel (with a bias if a norm
    follows), and norms are gone.
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
            normed = isinstance(agents, NormedAgents) or not isinstance(module.mid, nn.Identity)
            parameters += inside[1] * (side**2 + normed)
            area = inside[2] * inside[3] // module.stride**2
            macs += inside[1] * side**2 * area

    hooks = [module.register_forward_hook(add) for module in net.modules()]
    with torch.inference_mode():
        net.eval()(torch.zeros((1, *image_shape)))
    for hook in hooks:
        hook.remove()
    return parameters, macs


class DenseAgents(nn.Module):
    """Agents that see all channels, and the 1x1 compression if asked for, as one convolution."""

    def __init__(self, channels: int, wide: int, agents: Sequence[Agent], compress: bool) -> None:
        super().__init__()
        layout = kernel_layout(agents)
        self.side, self.wide = layout.side, wide
        self.positions: Tensor
        self.owner: Tensor
        for name, array in (("positions", layout.positions), ("owner", layout.agents)):
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        deviation = torch.from_numpy(layout.deviation)
        drawn = torch.randn(wide, channels, len(layout.positions)) * deviation
        self.taps = nn.Parameter(drawn / channels**0.5)
        self.alpha = nn.Parameter(torch.zeros(len(agents)))
        drawn = torch.randn(wide, wide) / wide**0.5
        self.compression = nn.Parameter(drawn) if compress else None

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.taps @ (self.positions * (self.owner @ self.alpha.softmax(0))[:, None])
        if self.compression is not None:
            kernel = self.compression @ kernel.flatten(1)
        kernel = kernel.reshape(self.wide, -1, self.side, self.side)
        return F.conv2d(x, kernel, padding=self.side // 2)


class DenseBlock(nn.Module):
    """Dense agents, max pooling if ``halve``, norm, activation; 1x1 and norm if ``mid``."""

    def __init__(self, channels: int, wide: int, halve: bool, form: dict[str, Any]) -> None:
        super().__init__()
        width = channels if form["mid"] else wide
        self.agents = DenseAgents(channels, width, DENSE_AGENTS, form["compress"])
        self.pool = nn.MaxPool2d(2) if halve else nn.Identity()
        self.norm = nn.BatchNorm2d(width)
        self.activation = nn.ReLU()
        self.mid = None
        if form["mid"]:
            conv = nn.Conv2d(width, wide, 1, bias=False)
            self.mid = nn.Sequential(self.activation, conv, nn.BatchNorm2d(wide))
        self.residual = form["residual"] if channels == wide and not halve else "none"

    def forward(self, x: Tensor) -> Tensor:
        maps = self.norm(self.pool(self.agents(x)))
        if self.mid is not None:
            maps = self.mid(maps)
        if self.residual == "relu":
            return self.activation(x + maps)
        if self.residual == "linear":
            return x + maps
        return self.activation(maps)


class Dense(nn.Module):
    """A stem, stages of dense blocks that each begin with halving, pooling, one dense layer.

    Args:
        num_classes, in_channels, image_size: the shape.
        stem: channels of the first 3x3 convolution.
        stages: (channels, blocks) of each.
        options: ``residual`` ("linear": X + F; "relu": ReLU(X + F); "none": ReLU(F), as both have
            it where the shapes differ), ``compress`` (false leaves the 1x1 convolution out),
            ``mid`` (true: the agents keep the channels; norm, ReLU, 1x1 and norm follow), ``head``
            (the global pooling: "max" or "mean").
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
        stem: int,
        stages: Sequence[tuple[int, int]],
        **options: Any,
    ) -> None:
        super().__init__()
        form = {"residual": "none", "compress": True, "mid": False, "head": "max"} | options
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, stem, 3, padding=1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
        )
        blocks, channels = [], stem
        for wide, count in stages:
            for index in range(count):
                blocks.append(DenseBlock(channels, wide, index == 0, form))
                channels = wide
        self.blocks = nn.Sequential(*blocks)
        self.head = form["head"]
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.blocks(self.stem(x))
        return self.classifier(maps.amax((2, 3)) if self.head == "max" else maps.mean((2, 3)))
