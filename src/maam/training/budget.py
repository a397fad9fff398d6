"""How long a training may take, and whether there is time for another epoch."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

LEAST = 0.1  # of the time, for steps, however long it took to begin
LATE = 0.1  # of the time, by which a training may end late without a word


@dataclass(frozen=True)
class Budget:
    """The time for a whole training.

    Attributes:
        minutes: in all; None: as long as it takes.
        began: when, on ``time.monotonic``'s clock.
    """

    minutes: float | None
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """In all."""
        return math.inf if self.minutes is None else 60 * self.minutes

    @property
    def least(self) -> float:
        """Seconds that steps have, however long it took to begin."""
        return LEAST * self.seconds

    @property
    def end(self) -> float:
        """When all must be done, on that clock."""
        return self.began + self.seconds

    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()

    def overrun(self) -> str:
        """What there is to say of a training that has ended now: nothing, if it was in time."""
        late = -self.left()
        if late <= LATE * self.seconds:
            return ""
        took = (self.seconds + late) / 60
        return f"it took {took:.1f} minutes, more than the {self.minutes:g} given"


class Deadline:
    """When the last epoch must have ended.

    Args:
        end: on ``time.monotonic``'s clock.
    """

    def __init__(self, end: float) -> None:
        self._end = end
        self._began: float | None = None

    def allows_epoch(self, times: float = 1.0) -> bool:
        """Whether an epoch ends in time if it takes as long as the one before, validation and all,
        or so many times as long.

        Call it before every epoch. The first one is always allowed.
        """
        now, before = time.monotonic(), self._began
        self._began = now
        return before is None or now + times * (now - before) <= self._end
