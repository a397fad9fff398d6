"""MAAMNet in PyTorch: the mirror of ``maam.models.maamnet``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maam.taps import Agent, agent_taps
from maam.torch.depthwise import depthwise
from maam.torch.layers import ConvNorm
from maam.torch.module import AgentFusion
from maam.variants import check_size


class LinearAgents(nn.Module):
    """Convolutions of different shapes, and their weighted sum, as one (equations 1 and 2).

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), rounded up.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        agents: (rows, columns, dilation) of each agent's kernel.
        dense: every output channel sees all input channels, and the 1x1 compression without a norm
            (equation 3) is part of the one kernel; else each channel sees itself alone, and the
            channels are as many.
        stride: of all agents.

    Attributes:
        taps: the kernels' values, agent after agent: (out_channels, in_channels or 1, sum of rows
            times columns).
        compression: (out_channels, out_channels); only if ``dense``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        agents: Sequence[Agent],
        dense: bool,
        stride: int = 1,
    ) -> None:
        super().__init__()
        plan = agent_taps(agents)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.agents, self.side = tuple(agents), plan.side
        self.dense, self.stride = dense, stride
        self.places: Tensor
        self.owners: Tensor
        for name, array in (("places", plan.places), ("owners", plan.owners)):
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        inputs = in_channels if dense else 1
        deviation = torch.from_numpy(plan.deviation)
        drawn = torch.randn(out_channels, inputs, len(plan.places)) * deviation / inputs**0.5
        if not dense:
            drawn[..., deviation == 1] = 1.0  # the agent of one tap begins as the identity
        self.taps = nn.Parameter(drawn)
        self.fusion = AgentFusion(len(agents))
        if dense:
            drawn = torch.randn(out_channels, out_channels) / out_channels**0.5
            self.compression = nn.Parameter(drawn)

    def kernel(self) -> Tensor:
        """The one kernel: (out_channels, in_channels or 1, side, side)."""
        weights = self.owners @ self.fusion.weights()
        kernel = self.taps @ (self.places * weights[:, None])
        if self.dense:
            kernel = self.compression @ kernel.flatten(1)
        return kernel.reshape(self.out_channels, -1, self.side, self.side)

    def forward(self, x: Tensor) -> Tensor:
        if self.dense:
            return F.conv2d(x, self.kernel(), None, self.stride, self.side // 2)
        return depthwise(x, self.kernel(), self.stride, quick=self.training)


class AgentLayer(nn.Module):
    """Linear agents, BatchNorm, ReLU: equations 1 to 3 if ``dense``.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H, W), or half of H and W if ``halve``.

    Args:
        in_channels, out_channels, agents, dense: of ``LinearAgents``.
        halve: halve height and width: dense agents by 2x2 max pooling after the norm, depthwise
            ones by stride 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        agents: Sequence[Agent],
        dense: bool,
        halve: bool,
    ) -> None:
        super().__init__()
        stride = 2 if halve and not dense else 1
        self.agents = LinearAgents(in_channels, out_channels, agents, dense, stride)
        self.norm = nn.BatchNorm2d(out_channels)
        self.pool = nn.MaxPool2d(2, 2) if halve and dense else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.pool(self.norm(self.agents(x))))


class DepthwiseBlock(nn.Module):
    """An ``AgentLayer`` of depthwise agents, 1x1 compression; added to the input where that fits.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H, W), or half of H and W if ``halve``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, agents: Sequence[Agent], halve: bool
    ) -> None:
        super().__init__()
        self.residual = in_channels == out_channels and not halve
        self.layer = AgentLayer(in_channels, in_channels, agents, False, halve)
        self.reduce = ConvNorm(in_channels, out_channels, 1, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.reduce(self.layer(x))
        return x + maps if self.residual else maps


class MAAMNet(nn.Module):
    """A 3x3 convolution, stages of MAAM blocks, global average pooling, one dense layer.

    Shapes: (N, in_channels, H, W) -> logits (N, num_classes). The first block of every stage but
    the first halves height and width.

    Args:
        num_classes: the number of classes.
        in_channels: channels of the image.
        image_size: (H, W).
        stages: (channels, blocks) of each stage; the first convolution has those of the first.
        agents: (rows, columns, dilation) of each agent's kernel, the same in every block.
        dense: blocks are dense ``AgentLayer``s in place of ``DepthwiseBlock``s.

    Raises:
        ValueError: too few pixels to halve so often.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
        stages: Sequence[tuple[int, int]],
        agents: Sequence[Agent],
        dense: bool = False,
    ) -> None:
        super().__init__()
        check_size(image_size, 2 ** (len(stages) - 1))
        channels = stages[0][0]
        self.stem = ConvNorm(in_channels, channels, 3)
        blocks: list[nn.Module] = []
        for number, (wide, count) in enumerate(stages):
            for index in range(count):
                halve = number > 0 and index == 0
                if dense:
                    blocks.append(AgentLayer(channels, wide, agents, True, halve))
                else:
                    blocks.append(DepthwiseBlock(channels, wide, agents, halve))
                channels = wide
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))
