"""Agents that see all channels, as they were tried and not taken; ``design.py`` trains them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maam.models.kernels import Agent, kernel_layout

DENSE_AGENTS = ((3, 3, 1), (1, 3, 1), (3, 1, 1), (1, 1, 1))


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
