"""The Multi-Agent Aggregation Module in PyTorch: the mirror of ``maam.mindspore.maam``.

    A_i = AgentBlock_i(X)                      (1)   convolutions, BatchNorm, ReLU, max pooling
    A   = sum_i softmax(alpha)_i * A_i         (2)   learnable scalars alpha
    F   = ReLU(BatchNorm(Conv1x1(A)))          (3)

Source: Qin et al., "MAAM: A Lightweight Multi-Agent Aggregation Module for Efficient Image
Classification Based on the MindSpore Framework". Classes, arguments and parameters have the names
they have in MindSpore; ``maam.torch.weights`` translates those of BatchNorm.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maam.models.agents import (
    Layers,
    ModuleSpec,
    agent_layers,
    check_agent,
    convolutions,
    squeezed_width,
)
from maam.torch.layers import ConvNorm


class AgentBlock(nn.Module):
    """One agent, or several agents of one shape side by side (equation 1).

    Shapes: (N, in_channels, H, W) -> (N, agents * out_channels, H // 2, W // 2), or H x W when
    ``pool`` is false. Agent i owns the channels ``i * out_channels`` to ``(i + 1) * out_channels``
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
        self.resolution = resolution
        self.pool = pool
        pool = pool and resolution == 1  # a coarse agent is small already: it never pools
        same = {"padding": kernel_size // 2, "bias": False}
        stack: OrderedDict[str, nn.Module] = OrderedDict()
        plan = convolutions(in_channels, out_channels, layers, agents, pool)
        for number, spec in enumerate(plan, 1):
            channels, width = spec.in_channels, spec.out_channels
            conv = nn.Conv2d(channels, width, kernel_size, groups=spec.groups, **same)
            stack[f"conv{number}"] = conv
            stack[f"norm{number}"] = nn.BatchNorm2d(width)
            if spec.pool:
                stack[f"pool{number}"] = nn.MaxPool2d(2, 2)
            stack[f"relu{number}"] = nn.ReLU()
        self.layers = nn.Sequential(stack)

    def forward(self, x: Tensor) -> Tensor:
        if self.resolution == 1:
            return self.layers(x)
        coarse = self.layers(shrink(x, self.resolution))
        halve = 2 if self.pool else 1
        return enlarge(coarse, self.resolution // halve, x.shape[2] // halve, x.shape[3] // halve)


def shrink(x: Tensor, resolution: int) -> Tensor:
    """Means of ``resolution`` x ``resolution`` windows, as MindSpore's "same" pooling takes them:
    windows that jut out, centred, average what they hold.
    """
    height, width = x.shape[2:]
    down, right = -height % resolution, -width % resolution
    padding = (right // 2, right - right // 2, down // 2, down - down // 2)
    held = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), padding), resolution)
    return F.avg_pool2d(F.pad(x, padding), resolution) / held


def enlarge(maps: Tensor, factor: int, height: int, width: int) -> Tensor:
    """Repeat each pixel ``factor`` x ``factor`` times, then cut to (N, C, height, width)."""
    return F.interpolate(maps, scale_factor=factor, mode="nearest")[:, :, :height, :width]


class AgentFusion(nn.Module):
    """The softmax-weighted sum of the agents' maps (equations 2 and 9).

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
        zeros = torch.zeros(num_agents)
        if learned:
            self.alpha = nn.Parameter(zeros)
        else:
            self.register_buffer("alpha", zeros, persistent=False)

    def weights(self) -> Tensor:
        """The weights, shape (num_agents,), which sum to 1."""
        return self.alpha.softmax(-1)

    def forward(self, agents: Tensor) -> Tensor:
        return weighted_sum(agents, self.weights())


class AgentExcitation(nn.Module):
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
        self.squeeze = nn.Linear(num_agents * channels, width)
        self.relu = nn.ReLU()
        self.excite = nn.Linear(width, num_agents)

    def weights(self, agents: Tensor) -> Tensor:
        """The weights of each image, shape (N, num_agents), which sum to 1."""
        return self.excite(self.relu(self.squeeze(agents.mean((2, 3))))).softmax(-1)

    def forward(self, agents: Tensor) -> Tensor:
        return weighted_sum(agents, self.weights(agents)[:, None, None, None])


def weighted_sum(maps: Tensor, weights: Tensor) -> Tensor:
    """Equation 2: (N, A * C, H, W), agent after agent, and weights -> (N, C, H, W).

    The weights are (A,) for all images, or (N, 1, 1, 1, A) for each its own.
    """
    weights = weights.to(maps.dtype)
    first, *others = maps.chunk(weights.shape[-1], 1)  # a reshape would lose channels last
    total = first * weights[..., 0]
    for number, other in enumerate(others, 1):
        total = torch.addcmul(total, other, weights[..., number])
    return total


class Reduce(ConvNorm):
    """Feature compression (equation 3): 1x1 convolution, BatchNorm, ReLU.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)


class MAAM(nn.Module):
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
        >>> MAAM(16, 32)(torch.ones(1, 16, 9, 9)).shape
        torch.Size([1, 32, 4, 4])
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
        self.agents = nn.ModuleList(
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
        width = out_channels * (self.spec.agents if fusion == "concat" else 1)
        self.reduce = Reduce(width, out_channels) if reduce else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        maps = [agent(x) for agent in self.agents]
        stacked = maps[0] if len(maps) == 1 else torch.cat(maps, 1)
        return self.reduce(self.fusion(stacked))


def _fusion(fusion: str, agents: int, channels: int) -> nn.Module:
    """What becomes of ``agents`` maps of ``channels`` side by side, see ``MAAM``."""
    if fusion == "squeeze":
        return AgentExcitation(agents, channels)
    if fusion == "concat" or (fusion == "fixed" and agents == 1):
        return nn.Identity()
    return AgentFusion(agents, learned=fusion == "learned")
