"""Linear agents as one kernel: which of its places each of their values takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Agent = tuple[int, int, int]
"""(rows, columns, dilation) of a kernel."""


class Taps(NamedTuple):
    """Where the taps of linear agents lie in the one kernel that they sum up to.

    Attributes:
        side: of that kernel, which holds the largest agent with its dilation.
        places: float32 (taps, side * side), a single 1 in each row.
        owners: float32 (taps, agents), a single 1 in each row.
        deviation: float32 (taps,), of fresh values for one input channel: He's normal distribution
            for a gain of 1.
    """

    side: int
    places: np.ndarray
    owners: np.ndarray
    deviation: np.ndarray


def agent_taps(agents: Sequence[Agent]) -> Taps:
    """The taps of linear agents, agent after agent, each kernel row by row.

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
    places, owners, sizes = [], [], []
    for number, (rows, columns, dilation) in enumerate(agents):
        tops, lefts = (
            side // 2 + dilation * (np.arange(size) - size // 2) for size in (rows, columns)
        )
        places += [top * side + left for top in tops for left in lefts]
        owners += [number] * (rows * columns)
        sizes += [rows * columns] * (rows * columns)
    return Taps(
        side,
        np.eye(side**2, dtype=np.float32)[places],
        np.eye(len(agents), dtype=np.float32)[owners],
        (1 / np.sqrt(sizes)).astype(np.float32),
    )
