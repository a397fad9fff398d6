"""Linear agents as one kernel: where in it each of their values lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Agent = tuple[int, int, int]
"""(rows, columns, dilation) of a kernel."""


@dataclass(frozen=True)
class KernelLayout:
    """Where the values of linear agents lie in the one kernel that they sum up to.

    Attributes:
        side: of that kernel, which holds the largest agent with its dilation.
        positions: float32 (values, side * side), a single 1 in each row.
        agents: float32 (values, agents), a single 1 in each row: whose value it is.
        deviation: float32 (values,), of fresh values for one input channel: He's normal
            distribution for a gain of 1.
    """

    side: int
    positions: np.ndarray
    agents: np.ndarray
    deviation: np.ndarray


def kernel_layout(agents: Sequence[Agent]) -> KernelLayout:
    """The values of linear agents, agent after agent, each kernel row by row.

    Args:
        agents: (rows, columns, dilation) of each.

    Raises:
        ValueError: no agents, an even kernel, or a dilation below 1.
    """
    if not agents:
        raise ValueError("agents is empty, and there is at least 1")
    for agent in agents:
        rows, columns, dilation = agent
        if min(agent) < 1 or rows % 2 == 0 or columns % 2 == 0:
            raise ValueError(f"an agent is (odd rows, odd columns, dilation), not {agent}")
    side = max(dilation * (max(shape) - 1) + 1 for *shape, dilation in agents)
    positions, numbers, sizes = [], [], []
    for number, (rows, columns, dilation) in enumerate(agents):
        tops, lefts = (
            side // 2 + dilation * (np.arange(size) - size // 2) for size in (rows, columns)
        )
        positions += [top * side + left for top in tops for left in lefts]
        numbers += [number] * (rows * columns)
        sizes += [rows * columns] * (rows * columns)
    return KernelLayout(
        side,
        np.eye(side**2, dtype=np.float32)[positions],
        np.eye(len(agents), dtype=np.float32)[numbers],
        (1 / np.sqrt(sizes)).astype(np.float32),
    )
