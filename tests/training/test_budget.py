"""Whether there is time for another epoch."""

from __future__ import annotations

import math
import time

from maam.training.budget import Budget, Deadline


def test_without_minutes_there_is_no_end():
    assert Budget(None).left() == math.inf
    assert 50 < Budget(1).left() <= 60
    assert Budget(1, began=time.monotonic() - 70).left() < 0


def test_a_training_that_took_longer_than_given_says_so():
    assert Budget(None).overrun() == Budget(1).overrun() == ""
    assert Budget(1, began=time.monotonic() - 65).overrun() == ""
    late = Budget(2, began=time.monotonic() - 252).overrun()
    assert late == "it took 4.2 minutes, more than the 2 given"


def test_another_epoch_must_end_in_time_with_all_that_belongs_to_it():
    enough = Deadline(time.monotonic() + 1000)
    assert [enough.allows_epoch() for _ in range(3)] == [True] * 3
    short = Deadline(time.monotonic() + 0.3)
    assert short.allows_epoch()
    time.sleep(0.2)  # the first epoch, validated and saved
    assert not short.allows_epoch()  # a second one would end after 0.4 s


def test_the_first_epoch_is_always_trained():
    past = Deadline(time.monotonic() - 1)
    assert past.allows_epoch()
    assert not past.allows_epoch()
