"""What a framework offers to processes that train together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Together(Protocol):
    """Processes that a launcher has started, on one machine or several; alone there is one."""

    def join_ranks(self, device: str, mode: str = "auto") -> None:
        """Meet the processes that the framework's launcher has started with this one, if it has."""
        ...

    def leave_ranks(self) -> None:
        """Part from them."""
        ...

    def rank(self) -> int:
        """The number of this process among those that train together. Number 0 writes."""
        ...

    def world_size(self) -> int:
        """How many processes train together."""
        ...

    def sum_over_ranks(self, values: Sequence[float]) -> list[float]:
        """Each value, summed over all processes."""
        ...
