"""The processes that train together, and what they must decide as one, or one waits for ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from maam.core.errors import MaamError
from maam.core.frameworks import Backend
from maam.training.events import EpochTotals


@dataclass(frozen=True)
class Ranks:
    """The processes that train together, as one of them sees them.

    All of them must call ``any``, ``sum`` and ``total`` equally often, in the same order.

    Attributes:
        rank: the number of this process.
        world: how many there are.
        sum: each value, summed over all.
    """

    rank: int = 0
    world: int = 1
    sum: Callable[[Sequence[float]], list[float]] = list

    @classmethod
    def of(cls, backend: Backend) -> Ranks:
        """Those that a framework has brought together."""
        return cls(backend.rank(), backend.world_size(), backend.sum_over_ranks)

    @property
    def writes(self) -> bool:
        """Whether this process writes the run folder, and tells how it goes."""
        return self.rank == 0

    def any(self, here: bool) -> bool:
        """Whether something is so in any of them."""
        return self.sum([float(here)])[0] > 0

    def total(self, part: EpochTotals) -> EpochTotals:
        """The sums over all; the seconds are those of this process."""
        loss, correct, images = self.sum([part.loss, part.correct, part.images])
        return EpochTotals(loss, round(correct), round(images), part.seconds)

    def part(self, total: EpochTotals) -> EpochTotals:
        """Parts that ``total`` sums up again: all for the process that writes."""
        return total if self.writes else replace(total, loss=0.0, correct=0, images=0)

    def check_batch(self, batch_size: int) -> None:
        """Check that each process can have an equal part of every batch.

        Raises:
            MaamError: it can't.
        """
        if batch_size % self.world:
            raise MaamError(
                f"`batch_size={batch_size}` is shared by {self.world} workers: give a multiple of "
                f"{self.world}, not above the number of training images"
            )


ALONE = Ranks()
