"""Ctrl-C and termination: out within seconds at any moment, and nothing half-written.

The command line blocks both signals before NumPy is imported, whose threads would else take them;
a thread of its own waits for them, and ends the process with the exit code of a shell. Work that
has something to clean up does so first:

- in ``interruptible`` work, ``KeyboardInterrupt`` or ``Terminated`` is raised in the main thread;
- in ``deferred`` work, where such an exception could tear a framework apart, ``check_signals``
  raises it, which is called at every step.

If that takes too long, the process ends all the same; what whole epochs have left can be resumed.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

GRACE = 3.5  # seconds that a deferred signal waits for ``check_signals``
_HANDLED = (signal.SIGINT, signal.SIGTERM)

_received: signal.Signals | None = None
_deferrals = 0  # that are open
_interruptible = False
_message = ""


class Terminated(SystemExit):
    """The process was asked to terminate; exit code 143."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def watch_signals(message: str) -> None:
    """Take charge of Ctrl-C and termination for the rest of the process.

    Call it in the main thread, before NumPy or a framework is imported: threads that they start
    inherit the block. Without such signals (Windows), nothing happens.

    Args:
        message: a line for standard error, if the process has to be ended.
    """
    global _message
    _message = message
    if hasattr(signal, "pthread_sigmask"):
        # What the caller ignores, as a shell does for work in the background, stays ignored.
        handled = {each for each in _HANDLED if signal.getsignal(each) != signal.SIG_IGN}
        if signal.SIGTERM in handled:
            signal.signal(signal.SIGTERM, _terminate)
        signal.signal(signal.SIGURG, _wake)
        signal.pthread_sigmask(signal.SIG_BLOCK, handled)
        watcher = threading.Thread(target=_watch, args=(handled,), name="maam-signals", daemon=True)
        watcher.start()


def say(message: str) -> None:
    """Have another line for standard error than ``watch_signals`` was given."""
    global _message
    _message = message


def check_signals() -> None:
    """Act on a signal that ``deferred`` has held back; without one, nothing happens.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
        Terminated: the process was asked to terminate.
    """
    if _received == signal.SIGINT:
        raise KeyboardInterrupt
    if _received == signal.SIGTERM:
        raise Terminated


@contextmanager
def interruptible() -> Iterator[None]:
    """Let signals be raised in the main thread, for work that cleans up after itself."""
    global _interruptible
    before, _interruptible = _interruptible, True
    try:
        yield
    finally:
        _interruptible = before


@contextmanager
def deferred() -> Iterator[None]:
    """Hold signals back for ``check_signals``, which this calls at its end too."""
    global _deferrals
    check_signals()
    _deferrals += 1
    try:
        yield
    finally:
        _deferrals -= 1
    check_signals()


def _watch(handled: set[signal.Signals]) -> None:
    """Wait for a signal, and see that it is acted on."""
    global _received
    if not handled:
        return
    _received = signal.Signals(signal.sigwait(handled))
    if _interruptible and not _deferrals:
        _thread.interrupt_main(_received)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGURG)
    if _interruptible or _deferrals:
        signal.sigtimedwait(handled, GRACE)  # a second Ctrl-C does not wait
    end(_received)


@contextmanager
def inheritable() -> Iterator[None]:
    """Let a process that is started here take signals itself; in the main thread."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def received() -> signal.Signals | None:
    """The signal that has come, if one has."""
    return _received


def end(received: signal.Signals) -> None:
    """End the process at once, with the exit code that a shell gives this signal.

    Python's own end would wait for a framework's threads.
    """
    if _message:
        os.write(2, f"maam: {_message}\n".encode())
    os._exit(128 + received)


def _wake(number: int, frame: object) -> None:
    """Nothing: that it was called is enough."""


def _terminate(number: int, frame: object) -> None:
    raise Terminated
