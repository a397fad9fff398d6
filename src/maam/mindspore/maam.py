"""The Multi-Agent Aggregation Module (MAAM): equations 1 to 3 of the paper, in MindSpore.

    A_i = AgentBlock_i(X)                      (1)   convolutions, BatchNorm, ReLU, max pooling
    A   = sum_i softmax(alpha)_i * A_i         (2)   learnable scalars alpha
    F   = ReLU(BatchNorm(Conv1x1(A)))          (3)

Source: Qin et al., "MAAM: A Lightweight Multi-Agent Aggregation Module for Efficient Image
Classification Based on the MindSpore Framework".

Five rewrites make training faster and change no value: agents of one kernel size are one
convolution with ``agents`` times the outputs (grouped from the second layer on); pooling comes
before ReLU, since the two commute and the ReLU then sees a quarter of the pixels; the weighted
sum is one matrix product over all agents; and on a CPU with a compiler, convolutions have their
own operator (``ops/convolution.py``), and all that follows one in training is another
(``ops/normalization.py``). ``tests/mindspore`` compares them with the plain form, values and
gradients.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from mindspore import Parameter, Tensor, float32, nn, ops

from maam.mindspore.layers import ConvNorm, FusedNorm
from maam.mindspore.ops import aot, normalization
from maam.mindspore.ops.convolution import Conv2d
from maam.mindspore.ops.normalization import weighted_sum
from maam.models.agents import (
    Layers,
    ModuleSpec,
    agent_layers,
    check_agent,
    convolutions,
    squeezed_width,
)


class AgentBlock(nn.Cell):
    """One agent, or several agents of one shape side by side (equation 1).

    Shapes: (N, in_channels, H, W) -> (N, agents * out_channels, H // 2, W // 2), or H x W when
    ``pool`` is false; given weights (agents,), their weighted sum, (N, out_channels, ...).
    Agent i owns the channels ``i * out_channels`` to ``(i + 1) * out_channels``
    of every layer; the agents share the input and nothing else.

    Args:
        in_channels: channels of the input.
        out_channels: channels that each agent puts out.
        kernel_size: odd side length of the agent's convolutions.
        layers: the agent's layers: a tuple such as ``(64, "pool", 128)``, convolutions' channels,
            the last of them ``out_channels``, and one 2x2 pooling; or a preset: "p1" is
            (out_channels, "pool"), "p2" (out_channels / 2, "pool", out_channels), "p3"
            (out_channels / 4, out_channels, "pool").
        agents: how many agents run side by side.
        pool: false leaves the pooling out, so that the size stays.
        resolution: 1, or an even shrink factor: the agent then sees the input averaged over
            ``resolution`` x ``resolution`` windows (cut off at the border), does not pool, and
            its output is enlarged (nearest) to the size that it would have otherwise.

    Raises:
        ValueError: unknown layers, an even kernel, or a count below 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        layers: str | Layers = "p2",
        agents: int = 1,
        pool: bool = True,
        resolution: int = 1,
    ) -> None:
        super().__init__()
        check_agent(in_channels, out_channels, kernel_size, agents, resolution)
        self.agents = agents
        self.resolution = resolution
        self.pool = pool
        self.shrink = nn.AvgPool2d(resolution, resolution, pad_mode="same")
        pool = pool and resolution == 1  # a coarse agent is small already: it never pools
        stack: OrderedDict[str, nn.Cell] = OrderedDict()
        plan = convolutions(in_channels, out_channels, layers, agents, pool)
        for number, spec in enumerate(plan, 1):
            channels, width = spec.in_channels, spec.out_channels
            stack[f"conv{number}"] = Conv2d(channels, width, kernel_size, spec.groups)
            stack[f"norm{number}"] = nn.BatchNorm2d(width)
            stack[f"pool{number}"] = nn.MaxPool2d(2, 2) if spec.pool else nn.Identity()
            stack[f"relu{number}"] = nn.ReLU()
        self.layers = nn.SequentialCell(stack)
        self.fused = nn.CellList([FusedNorm(spec.pool) for spec in plan])
        self.last = len(plan) - 1

    def construct(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        maps = x if self.resolution == 1 else self.shrink(x)
        cells = self.layers.cell_list
        for number, fused in enumerate(self.fused):
            conv, norm, pool, relu = cells[4 * number : 4 * number + 4]
            summed = weights if number == self.last else None
            maps = fused(conv(maps), norm, pool, relu, summed)
        if self.resolution == 1:
            return maps
        halve = 2 if self.pool else 1
        return enlarge(maps, self.resolution // halve, x.shape[2] // halve, x.shape[3] // halve)


def enlarge(maps: Tensor, factor: int, height: int, width: int) -> Tensor:
    """Repeat each pixel ``factor`` x ``factor`` times, then cut to (N, C, height, width)."""
    _, channels, rows, columns = maps.shape
    # A tile, which every exporter knows.
    pixels = maps.reshape(-1, channels, rows, 1, columns, 1)
    large = ops.tile(pixels, (1, 1, 1, factor, 1, factor))
    large = large.reshape(-1, channels, rows * factor, columns * factor)
    return large[:, :, :height, :width]


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
        zeros = Tensor([0.0] * num_agents, float32)
        self.alpha = Parameter(zeros, name="alpha") if learned else zeros

    def weights(self) -> Tensor:
        """The weights, shape (num_agents,), which sum to 1."""
        return ops.softmax(self.alpha, -1)

    def construct(self, agents: Tensor) -> Tensor:
        return weighted_sum(agents, self.weights())


class AgentExcitation(nn.Cell):
    """The weighted sum of equation 2, its weights computed from the image (squeeze-and-excitation).

        w = softmax(W2 ReLU(W1 mean(A) + b1) + b2),   mean over height and width

    Source: Hu et al. 2018, arXiv 1709.01507; but one weight an agent instead of one a channel,
    and equation 2's softmax instead of their sigmoid.

    Shapes: (N, num_agents * channels, H, W), agent after agent -> (N, channels, H, W).

    Args:
        num_agents: how many agents, at least 1.
        channels: channels of each agent.
    """

    def __init__(self, num_agents: int, channels: int) -> None:
        super().__init__()
        width = squeezed_width(num_agents, channels)
        self.squeeze = nn.Dense(num_agents * channels, width)
        self.relu = nn.ReLU()
        self.excite = nn.Dense(width, num_agents)

    def weights(self, agents: Tensor) -> Tensor:
        """The weights of each image, shape (N, num_agents), which sum to 1."""
        return ops.softmax(self.excite(self.relu(self.squeeze(agents.mean((2, 3))))), -1)

    def construct(self, agents: Tensor) -> Tensor:
        return weighted_sum(agents, self.weights(agents))


class Reduce(ConvNorm):
    """Feature compression (equation 3): 1x1 convolution, BatchNorm, ReLU.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)


class MAAM(nn.Cell):
    """Parallel agents, their fusion, 1x1 compression: a layer for any network.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H // 2, W // 2), or H x W when ``pool`` is
    false. H and W are at least 2 with pooling; odd sizes are rounded down by it.

    Args:
        in_channels: channels of the input.
        out_channels: channels of each agent and of the output.
        kernel_sizes: one odd kernel size per agent; its length is the number of agents.
        layers: the agents' layers, as ``AgentBlock`` has them.
        pool: halve the height and the width, as in the paper.
        fusion: how the agents' maps become one: "learned" (equation 2), "fixed" (every weight
            is 1 / agents), "squeeze" (``AgentExcitation``), or "concat" (no sum: the compression
            gets all maps side by side).
        reduce: the 1x1 compression; false leaves it out, which "concat" can't.
        resolutions: one shrink factor per agent (1 = full resolution), or None for all 1.

    Raises:
        ValueError: no agents, lengths that differ, an unknown fusion, "concat" without
            compression, or an argument ``AgentBlock`` refuses.

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
        layers: str | Layers = "p2",
        pool: bool = True,
        fusion: str = "learned",
        reduce: bool = True,
        resolutions: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.spec = ModuleSpec(
            in_channels,
            out_channels,
            tuple(kernel_sizes),
            agent_layers(layers, out_channels),
            pool,
            fusion,
            reduce,
            None if resolutions is None else tuple(resolutions),
        )
        self.agents = nn.CellList(
            [
                AgentBlock(
                    in_channels,
                    out_channels,
                    group.kernel_size,
                    self.spec.layers,
                    group.count,
                    pool,
                    group.resolution,
                )
                for group in self.spec.groups
            ]
        )
        self.fusion = _fusion(fusion, self.spec.agents, out_channels)
        self.by_block = normalization.usable()
        width = out_channels * (self.spec.agents if fusion == "concat" else 1)
        self.reduce = Reduce(width, out_channels) if reduce else nn.Identity()

    def construct(self, x: Tensor) -> Tensor:
        if self.by_block and self.training and aot.is_exactly(self.fusion, AgentFusion):
            return self.reduce(self._sum_by_block(x))
        maps = ()
        for agent in self.agents:
            maps = (*maps, agent(x))
        stacked = maps[0] if len(maps) == 1 else ops.concat(maps, 1)
        return self.reduce(self.fusion(stacked))

    def _sum_by_block(self, x: Tensor) -> Tensor:
        """The same as ``fusion``, but each block sums up its own agents."""
        weights = self.fusion.weights()
        maps, first = (), 0
        for agent in self.agents:
            maps = (*maps, agent(x, weights[first : first + agent.agents]))
            first += agent.agents
        total = maps[0]  # pyright: ignore[reportGeneralTypeIssues]
        for other in maps[1:]:
            total = total + other
        return total


def _fusion(fusion: str, agents: int, channels: int) -> nn.Cell:
    """What becomes of ``agents`` maps of ``channels`` side by side, see ``MAAM``."""
    if fusion == "squeeze":
        return AgentExcitation(agents, channels)
    if fusion == "concat" or (fusion == "fixed" and agents == 1):
        return nn.Identity()
    return AgentFusion(agents, learned=fusion == "learned")
