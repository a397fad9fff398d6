"""MAAMNet: small classifiers made of MAAM blocks with linear agents.

    A_i = Conv_i(X)                         (1)   depthwise, a kernel shape for each agent
    A   = sum_i softmax(alpha)_i * A_i      (2)   learnable scalars alpha
    F   = Conv1x1(ReLU(BatchNorm(A)))       (3)   then BatchNorm, and + X where the shapes agree

The numbers are those of the paper's equations, see ``maam.mindspore.maam``; its equation 3 has
BatchNorm and ReLU after the compression. Agents without a nonlinearity are one convolution: its
kernel is the weighted sum of theirs, in training already, and folding writes it down
(``maam.fuse``).
docs/design-notes.md has the measurements that led here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mindspore import Parameter, Tensor, float32, nn, ops
from mindspore.common.initializer import Normal, initializer

from maam.mindspore.layers import ConvNorm, FusedNorm, pooled
from maam.mindspore.maam import AgentFusion
from maam.mindspore.ops import aot, chain, depthwise
from maam.mindspore.ops.chain import Chain, serves
from maam.models.kernels import Agent, kernel_layout
from maam.models.registry import check_size
from maam.models.stem import PATCH_CHANNELS, patch_side


class LinearAgents(nn.Cell):
    """Depthwise convolutions of different shapes, and their weighted sum, as one (equations 1, 2).

    Shapes: (N, channels, H, W) -> (N, channels, H / stride, W / stride), rounded up.

    Args:
        channels: of the input, each of which the agents see by itself.
        agents: (rows, columns, dilation) of each agent's kernel.
        stride: of all agents.

    Attributes:
        taps: the kernels' values, agent after agent: (channels, 1, sum of rows times columns).
    """

    def __init__(self, channels: int, agents: Sequence[Agent], stride: int = 1) -> None:
        super().__init__()
        layout = kernel_layout(agents)
        self.channels, self.stride = channels, stride
        self.agents, self.side = tuple(agents), layout.side
        self.positions, self.agent_of = Tensor(layout.positions), Tensor(layout.agents)
        drawn = _normal((channels, 1, len(layout.positions))) * layout.deviation
        drawn[..., layout.deviation == 1] = 1.0  # the agent of one tap begins as the identity
        self.taps = Parameter(Tensor(drawn, float32), name="taps")
        self.fusion = AgentFusion(len(agents))
        self.native = stride in (1, 2) and self.side in depthwise.KERNELS and depthwise.usable()
        if self.native:
            self.operator = depthwise.operator(stride)

    def kernel(self) -> Tensor:
        """The one kernel: (channels, 1, side, side)."""
        # In float32, though mixed precision makes some of these float16.
        weights = self.fusion.weights().astype(float32).reshape(-1, 1)
        shares = ops.matmul(self.agent_of.astype(float32), weights).reshape(1, -1)
        values = self.taps.reshape(self.channels, -1).astype(float32) * shares
        kernel = ops.matmul(values, self.positions.astype(float32))
        return kernel.reshape(self.channels, 1, self.side, self.side)

    def construct(self, x: Tensor) -> Tensor:
        kernel = self.kernel().astype(x.dtype)
        if self.native and self.training and aot.takes(x):
            return self.operator(x, kernel)
        return ops.conv2d(x, kernel, None, self.stride, "pad", self.side // 2, 1, self.channels)


class AgentLayer(nn.Cell):
    """``LinearAgents``, BatchNorm, ReLU. Same shapes and arguments."""

    def __init__(self, channels: int, agents: Sequence[Agent], stride: int = 1) -> None:
        super().__init__()
        self.agents = LinearAgents(channels, agents, stride)
        self.norm = nn.BatchNorm2d(channels)
        self.pool = nn.Identity()
        self.activation = nn.ReLU()
        self.fused = FusedNorm()

    def construct(self, x: Tensor) -> Tensor:
        return self.fused(self.agents(x), self.norm, self.pool, self.activation, None)


class Block(nn.Cell):
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
        self.chain = Chain([stride, 1], False, self.residual)
        self.own = type(self) is Block and type(self.layer) is AgentLayer

    def chains(self) -> bool:
        """Whether a chain computes what this block, as it is now, does."""
        layer, reduce = self.layer, self.reduce
        if not (self.own and isinstance(layer, AgentLayer) and isinstance(reduce, ConvNorm)):
            return False  # folded, or replaced
        if not (aot.is_exactly(layer.agents, LinearAgents) and layer.agents.native):
            return False
        if not aot.is_exactly(layer.activation, nn.ReLU):
            return False
        if not aot.is_exactly(layer.pool, nn.Identity):
            return False
        if not self.training == layer.norm.training == reduce.training:
            return False
        return serves(layer.norm) and reduce.chains()

    def chained(self, x: Tensor) -> Tensor:
        """The same by a chain: channels last."""
        weights = self.layer.agents.kernel(), self.reduce.conv.weight
        return self.chain(x, weights, (self.layer.norm, self.reduce.norm))

    def construct(self, x: Tensor) -> Tensor:
        maps = self.reduce(self.layer(x))
        return x + maps if self.residual else maps


class MAAMNet(nn.Cell):
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
        self.patch = None
        if side > 1:
            self.patch = nn.Conv2d(in_channels, PATCH_CHANNELS, side, side, "valid")
            in_channels = PATCH_CHANNELS
        self.stem = ConvNorm(in_channels, channels, 3)
        blocks: list[nn.Cell] = []
        for number, (wide, count) in enumerate(stages):
            for index in range(count):
                stride = 2 if number > 0 and index == 0 else 1
                blocks.append(Block(channels, wide, agents, stride))
                channels = wide
        self.blocks = nn.SequentialCell(blocks)
        self.classifier = nn.Dense(channels, num_classes)
        self.chain = Chain([1], True)
        self.native = chain.usable()

    def chains(self) -> bool:
        """Whether all layers can be chains."""
        if not (isinstance(self.stem, ConvNorm) and self.stem.chains()):
            return False
        if self.stem.training != self.training:
            return False
        for block in self.blocks:
            if not (isinstance(block, Block) and block.chains()):
                return False
            if block.training != self.training:
                return False
        return True

    def by_chains(self, x: Tensor) -> Tensor:
        """The logits, where chains are usable; in inference without gradients."""
        if self.patch is None:
            x = self.stem.chained(x.transpose(0, 2, 3, 1), self.chain)
        else:
            x = self.stem(self.patch(x)).transpose(0, 2, 3, 1)
        for block in self.blocks:
            x = block.chained(x)
        return self.classifier(pooled(x))

    def construct(self, x: Tensor) -> Tensor:
        if self.native and self.training and aot.takes(x) and self.chains():
            return self.by_chains(x)
        x = x if self.patch is None else self.patch(x)
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


def _normal(shape: tuple[int, ...]) -> np.ndarray:
    return initializer(Normal(1.0), shape).init_data().asnumpy()
