"""MAAMNet in PyTorch: the mirror of ``maam.mindspore.models.maamnet``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maam.models.kernels import Agent, kernel_layout
from maam.models.registry import check_size
from maam.models.stem import PATCH_CHANNELS, patch_side
from maam.torch.layers import ConvNorm
from maam.torch.maam import AgentFusion
from maam.torch.ops.depthwise import depthwise
from maam.torch.ops.normalization import norm_activation


class LinearAgents(nn.Module):
    """Depthwise convolutions of different shapes, and their weighted sum, as one (equations 1, 2).

    Shapes: (N, channels, H, W) -> (N, channels, H / stride, W / stride), rounded up.

    Args:
        channels: of the input, each of which the agents see by itself.
        agents: (rows, columns, dilation) of each agent's kernel.
        stride: of all agents.

    Attributes:
        taps: the kernels' values, agent after agent: (channels, 1, sum of rows times columns).
    """

    native = True  # it has operators of ours

    def __init__(self, channels: int, agents: Sequence[Agent], stride: int = 1) -> None:
        super().__init__()
        layout = kernel_layout(agents)
        self.channels, self.stride = channels, stride
        self.agents, self.side = tuple(agents), layout.side
        self.positions: Tensor
        self.agent_of: Tensor
        for name, array in (("positions", layout.positions), ("agent_of", layout.agents)):
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        deviation = torch.from_numpy(layout.deviation)
        drawn = torch.randn(channels, 1, len(layout.positions)) * deviation
        drawn[..., deviation == 1] = 1.0  # the agent of one tap begins as the identity
        self.taps = nn.Parameter(drawn)
        self.fusion = AgentFusion(len(agents))

    def kernel(self) -> Tensor:
        """The one kernel: (channels, 1, side, side)."""
        weights = self.agent_of @ self.fusion.weights()
        kernel = self.taps @ (self.positions * weights[:, None])
        return kernel.reshape(-1, 1, self.side, self.side)

    def forward(self, x: Tensor) -> Tensor:
        return depthwise(x, self.kernel(), self.stride, quick=self.training)


class AgentLayer(nn.Module):
    """``LinearAgents``, BatchNorm, ReLU. Same shapes and arguments."""

    def __init__(self, channels: int, agents: Sequence[Agent], stride: int = 1) -> None:
        super().__init__()
        self.agents = LinearAgents(channels, agents, stride)
        self.norm = nn.BatchNorm2d(channels)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return norm_activation(self.agents(x), self.norm, self.activation)


class Block(nn.Module):
    """An ``AgentLayer``, 1x1 compression; added to the input where that fits.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), rounded up.
    """

    def __init__(
        self, in_channels: int, out_channels: int, agents: Sequence[Agent], stride: int = 1
    ) -> None:
        super().__init__()
        self.residual = in_channels == out_channels and stride == 1
        self.layer = AgentLayer(in_channels, agents, stride)
        self.reduce = ConvNorm(in_channels, out_channels, 1, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.reduce(self.layer(x))
        return x + maps if self.residual else maps


class MAAMNet(nn.Module):
    """A 3x3 convolution, stages of MAAM blocks, global average pooling, one dense layer.

    Shapes: (N, in_channels, H, W) -> logits (N, num_classes). Images of more than 32 pixels a side
    first become maps of at most 32x32, a pixel a patch (``maam.models.stem``). The first block of
    every stage but the first halves height and width.

    Args:
        num_classes: the number of classes.
        in_channels: channels of the image.
        image_size: (H, W).
        stages: (channels, blocks) of each stage; the first convolution has those of the first.
        agents: (rows, columns, dilation) of each agent's kernel, the same in every block.

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
    ) -> None:
        super().__init__()
        side = patch_side(image_size)
        check_size(image_size, side * 2 ** (len(stages) - 1))
        channels = stages[0][0]
        self.patch: nn.Module | None = None
        if side > 1:
            self.patch = nn.Conv2d(in_channels, PATCH_CHANNELS, side, side, bias=False)
            in_channels = PATCH_CHANNELS
        self.stem = ConvNorm(in_channels, channels, 3)
        blocks: list[nn.Module] = []
        for number, (wide, count) in enumerate(stages):
            for index in range(count):
                stride = 2 if number > 0 and index == 0 else 1
                blocks.append(Block(channels, wide, agents, stride))
                channels = wide
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.patch is None else self.patch(x)
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))
