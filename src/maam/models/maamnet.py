"""MAAMNet: small classifiers made of nothing but MAAM blocks with linear agents.

    A_i = Conv_i(X)                         (1)   a kernel shape for each agent
    A   = sum_i softmax(alpha)_i * A_i      (2)   learnable scalars alpha
    F   = ReLU(BatchNorm(Conv1x1(A)))       (3)

The numbers are those of the paper's equations, see ``maam.module``. Agents without a nonlinearity
are one convolution: its kernel is the weighted sum of theirs, in training already, and folding
writes it down (``maam.fuse``). Two blocks are made of this:

- dense agents: equations 1 to 3 as they stand; the 1x1 compression is part of the one kernel too;
- depthwise agents: BatchNorm and ReLU come before the compression, BatchNorm after it, and the
  block adds its result to X where the shapes agree.

docs/design-notes.md has the measurements that led here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mindspore import Parameter, Tensor, float32, nn, ops
from mindspore.common.initializer import Normal, initializer

from maam import convolution, depthwise
from maam.layers import ConvNorm, NormReLU
from maam.module import AgentFusion
from maam.taps import Agent, agent_taps
from maam.variants import check_size


class LinearAgents(nn.Cell):
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
        self.places, self.owners = Tensor(plan.places), Tensor(plan.owners)
        inputs = in_channels if dense else 1
        drawn = _normal((out_channels, inputs, len(plan.places))) * plan.deviation / inputs**0.5
        if not dense:
            drawn[..., plan.deviation == 1] = 1.0  # the agent of one tap begins as the identity
        self.taps = Parameter(Tensor(drawn, float32), name="taps")
        self.fusion = AgentFusion(len(agents))
        if dense:
            drawn = _normal((out_channels, out_channels)) / out_channels**0.5
            self.compression = Parameter(Tensor(drawn, float32), name="compression")
        source = convolution if dense else depthwise
        strides = (1,) if dense else (1, 2)
        self.native = stride in strides and self.side in source.KERNELS and source.usable()
        if self.native:
            self.operator = convolution.operator() if dense else depthwise.operator(stride)

    def kernel(self) -> Tensor:
        """The one kernel: (out_channels, in_channels or 1, side, side)."""
        # Products that promote their types: mixed precision makes some of these float16.
        shares = (self.owners * self.fusion.weights()).sum(1)
        places = self.places * shares.reshape(-1, 1)
        taps = self.taps.reshape(-1, self.places.shape[0]).astype(float32)
        kernel = ops.matmul(taps, places.astype(float32))
        if self.dense:
            flat = kernel.reshape(self.out_channels, -1)
            kernel = ops.matmul(self.compression.astype(float32), flat)
        return kernel.reshape(self.out_channels, -1, self.side, self.side)

    def construct(self, x: Tensor) -> Tensor:
        kernel = self.kernel().astype(x.dtype)
        whole = not self.dense or x.shape[3] % convolution.VECTOR == 0
        if self.native and self.training and x.dtype == float32 and whole:
            return self.operator(x, kernel)
        groups = 1 if self.dense else self.in_channels
        return ops.conv2d(x, kernel, None, self.stride, "pad", self.side // 2, 1, groups)


class AgentLayer(nn.Cell):
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
        self.norm = NormReLU(out_channels, halve and dense)

    def construct(self, x: Tensor) -> Tensor:
        return self.norm(self.agents(x))


class DepthwiseBlock(nn.Cell):
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

    def construct(self, x: Tensor) -> Tensor:
        maps = self.reduce(self.layer(x))
        return x + maps if self.residual else maps


class MAAMNet(nn.Cell):
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
        blocks: list[nn.Cell] = []
        for number, (wide, count) in enumerate(stages):
            for index in range(count):
                halve = number > 0 and index == 0
                if dense:
                    blocks.append(AgentLayer(channels, wide, agents, True, halve))
                else:
                    blocks.append(DepthwiseBlock(channels, wide, agents, halve))
                channels = wide
        self.blocks = nn.SequentialCell(blocks)
        self.classifier = nn.Dense(channels, num_classes)

    def construct(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


def _normal(shape: tuple[int, ...]) -> np.ndarray:
    return initializer(Normal(1.0), shape).init_data().asnumpy()
