"""Ctrl-C and termination during training: held back, and acted on where it is safe."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_HELD = {signal.SIGINT, signal.SIGTERM}


@contextmanager
def hold_signals() -> Iterator[None]:
    """Hold back Ctrl-C and termination; ``check_signals`` acts on them where it is safe.

    MindSpore answers them itself: it dies without a word, or with exit code 0. The threads that it
    starts when it is imported inherit the block, so this comes before.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check_signals() -> None:
    """Act on a signal that ``hold_signals`` holds back.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
        SystemExit: with code 143, when the process was asked to terminate.
    """
    pending = signal.sigpending() & _HELD
    if pending and signal.sigwait(pending) == signal.SIGINT:
        raise KeyboardInterrupt
    if pending:
        raise SystemExit(128 + signal.SIGTERM)


@contextmanager
def exit_on_termination() -> Iterator[None]:
    """Turn a termination into SystemExit, code 143, so that what must be cleaned up is.

    For work that other processes do; where MindSpore computes, ``hold_signals`` is needed.
    """

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
