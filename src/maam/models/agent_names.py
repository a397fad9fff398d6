"""What agents are called in pictures: by their kernels."""

from __future__ import annotations

from collections.abc import Sequence

from maam.models.agents import ModuleSpec
from maam.models.kernels import Agent


def module_agents(spec: ModuleSpec) -> tuple[str, ...]:
    """Of a ``MAAM``: ``agent 1, 3x3``, or ``agent 2, 3x3 at 1/2`` of the resolution."""
    resolutions = spec.resolutions or (1,) * spec.agents
    pairs = zip(spec.kernel_sizes, resolutions, strict=True)
    return tuple(
        f"agent {number}, {size}x{size}" + (f" at 1/{factor}" if factor > 1 else "")
        for number, (size, factor) in enumerate(pairs, 1)
    )


def linear_agents(agents: Sequence[Agent]) -> tuple[str, ...]:
    """Of linear agents: ``agent 1, 3x3``, or ``agent 3, 3x3 dilated by 2``."""
    return tuple(
        f"agent {number}, {rows}x{columns}" + (f" dilated by {dilation}" if dilation > 1 else "")
        for number, (rows, columns, dilation) in enumerate(agents, 1)
    )
