"""The Multi-Agent Aggregation Module (MAAM): equations 1 to 3 of the paper, in MindSpore.

    A_i = AgentBlock_i(X)                      (1)   convolutions, BatchNorm, ReLU, max pooling
    A   = sum_i softmax(alpha)_i * A_i         (2)   learnable scalars alpha
    F   = ReLU(BatchNorm(Conv1x1(A)))          (3)

Source: Qin et al., "MAAM: A Lightweight Multi-Agent Aggregation Module for Efficient Image
Classification Based on the MindSpore Framework".

Three rewrites make training faster and change no value: agents of one kernel size are one
convolution with ``agents`` times the outputs (grouped from the second layer on); pooling comes
before ReLU, since the two commute and the ReLU then sees a quarter of the pixels; and the weighted
sum is one matrix product over all agents. ``tests/test_module.py`` compares them with the plain
form, values and gradients.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import groupby

from mindspore import Parameter, Tensor, nn, ops
from mindspore import float32 as ms_float32

from maam.variants import POOL, READINGS


class AgentBlock(nn.Cell):
    """One agent, or several agents of one shape side by side (equation 1).

    Shapes: (N, in_channels, H, W) -> (N, agents * out_channels, H // 2, W // 2), or H x W when
    ``pool`` is false. Agent i owns the channels ``i * out_channels`` to ``(i + 1) * out_channels``
    of every layer; the agents share the input and nothing else.

    Args:
        in_channels: channels of the input.
        out_channels: channels that each agent puts out.
        kernel_size: odd side length of the agent's convolutions.
        reading: row of ``READINGS``: the agent's layers.
        agents: how many agents run side by side.
        pool: false leaves the pooling out, so that the size stays.
        resolution: 1, or an even shrink factor: the agent then sees the input averaged over
            ``resolution`` x ``resolution`` windows (cut off at the border), does not pool, and
            its output is enlarged (nearest) to the size that it would have otherwise.

    Raises:
        ValueError: an unknown reading, an even kernel, or a count below 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        reading: str = "p2",
        agents: int = 1,
        pool: bool = True,
        resolution: int = 1,
    ) -> None:
        super().__init__()
        if reading not in READINGS:
            raise ValueError(f"reading is one of {', '.join(READINGS)}, not {reading!r}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is odd and at least 1, not {kernel_size}")
        if min(in_channels, out_channels, agents, resolution) < 1:
            raise ValueError("channels, agents and resolution are at least 1")
        if resolution > 1 and resolution % 2:
            raise ValueError(f"resolution is 1 or even, not {resolution}")
        self.agents = agents
        self.resolution = resolution
        self.pool = pool
        self.shrink = nn.AvgPool2d(resolution, resolution, pad_mode="same")
        stages = READINGS[reading]
        layers: OrderedDict[str, nn.Cell] = OrderedDict()
        channels, groups, number = in_channels, 1, 0  # all agents read the same input
        for index, stage in enumerate(stages):
            if not isinstance(stage, int):
                continue
            number += 1
            width = agents * max(1, out_channels // stage)
            layers[f"conv{number}"] = nn.Conv2d(
                channels,
                width,
                kernel_size,
                pad_mode="pad",
                padding=kernel_size // 2,
                group=groups,
                has_bias=False,
            )
            layers[f"norm{number}"] = nn.BatchNorm2d(width)
            # A coarse agent is small already: it never pools.
            if pool and resolution == 1 and stages[index + 1 : index + 2] == (POOL,):
                layers[f"pool{number}"] = nn.MaxPool2d(2, 2)
            layers[f"relu{number}"] = nn.ReLU()
            channels, groups = width, agents
        self.layers = nn.SequentialCell(layers)

    def construct(self, x: Tensor) -> Tensor:
        if self.resolution == 1:
            return self.layers(x)
        coarse = self.layers(self.shrink(x))
        _, channels, height, width = coarse.shape
        halve = 2 if self.pool else 1
        factor = self.resolution // halve
        # Nearest enlargement as a tile, which every exporter knows; the last window may jut out.
        pixels = coarse.reshape(-1, channels, height, 1, width, 1)
        large = ops.tile(pixels, (1, 1, 1, factor, 1, factor))
        large = large.reshape(-1, channels, height * factor, width * factor)
        return large[:, :, : x.shape[2] // halve, : x.shape[3] // halve]


class AgentFusion(nn.Cell):
    """The softmax-weighted sum of the agents' maps (equations 2 and 9), as one matrix product.

    Shapes: (N, num_agents * C, H, W), agent after agent -> (N, C, H, W).

    Args:
        num_agents: how many agents, at least 1.
        learned: false fixes every weight at 1 / num_agents and has no parameter.

    Attributes:
        alpha: the scalars before the softmax, shape (num_agents,), zeros at first.
    """

    def __init__(self, num_agents: int, learned: bool = True) -> None:
        super().__init__()
        if num_agents < 1:
            raise ValueError(f"num_agents is at least 1, not {num_agents}")
        self.num_agents = num_agents
        zeros = Tensor([0.0] * num_agents, ms_float32)
        self.alpha = Parameter(zeros, name="alpha") if learned else zeros

    def construct(self, agents: Tensor) -> Tensor:
        _, channels, height, width = agents.shape
        channels = channels // self.num_agents
        weights = ops.softmax(self.alpha, -1).reshape(1, 1, self.num_agents).astype(agents.dtype)
        stacked = agents.reshape(-1, self.num_agents, channels * height * width)
        return ops.matmul(weights, stacked).reshape(-1, channels, height, width)


class Reduce(nn.Cell):
    """Feature compression (equation 3): 1x1 convolution, BatchNorm, ReLU.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, pad_mode="valid", has_bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()

    def construct(self, x: Tensor) -> Tensor:
        return self.relu(self.norm(self.conv(x)))


class MAAM(nn.Cell):
    """Parallel agents, softmax-weighted sum, 1x1 compression: a layer for any network.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H // 2, W // 2), or H x W when ``pool`` is
    false. H and W are at least 2 with pooling; odd sizes are rounded down by it.

    Args:
        in_channels: channels of the input.
        out_channels: channels of each agent and of the output.
        kernel_sizes: one odd kernel size per agent; its length is the number of agents.
        reading: the agents' layers, a row of ``READINGS``.
        pool: halve the height and the width, as in the paper.
        learned: learnable fusion scalars; false fixes them at 1 / agents.
        reduce: the 1x1 compression; false leaves it out.
        resolutions: one shrink factor per agent (1 = full resolution), or None for all 1.

    Raises:
        ValueError: no agents, lengths that differ, or an argument ``AgentBlock`` refuses.

    Example:
        >>> layer = MAAM(16, 32)
        >>> layer(ops.ones((1, 16, 9, 9))).shape
        (1, 32, 4, 4)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_sizes: Sequence[int] = (3, 3, 3),
        reading: str = "p2",
        pool: bool = True,
        learned: bool = True,
        reduce: bool = True,
        resolutions: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        resolutions = resolutions or (1,) * len(kernel_sizes)
        if len(resolutions) != len(kernel_sizes):
            raise ValueError(
                f"{len(kernel_sizes)} kernel_sizes but {len(resolutions)} resolutions: "
                "give one of each per agent"
            )
        # Neighbours of one shape run as one block.
        pairs = zip(kernel_sizes, resolutions, strict=True)
        shapes = [(shape, len(list(run))) for shape, run in groupby(pairs)]
        self.agents = nn.CellList(
            [
                AgentBlock(in_channels, out_channels, kernel, reading, count, pool, resolution)
                for (kernel, resolution), count in shapes
            ]
        )
        alone = len(kernel_sizes) == 1 and not learned  # nothing to fuse
        self.fusion = nn.Identity() if alone else AgentFusion(len(kernel_sizes), learned)
        self.reduce = Reduce(out_channels, out_channels) if reduce else nn.Identity()

    def construct(self, x: Tensor) -> Tensor:
        maps = ()
        for agent in self.agents:
            maps = (*maps, agent(x))
        stacked = maps[0] if len(maps) == 1 else ops.concat(maps, 1)
        return self.reduce(self.fusion(stacked))
