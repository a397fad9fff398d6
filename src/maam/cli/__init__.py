"""The command line: one file a verb; it parses, calls and prints, and holds no logic."""

from __future__ import annotations

import sys
from contextlib import suppress

INTERRUPTED = {"reproduce": "interrupted; the same command goes on"}


def main() -> None:
    """Run the command line: exit code 0, 1 (some files unreadable, or a check failed), 2 (bad
    input: one line says what to do), 130 (interrupted), 143 (terminated).
    """
    from maam.core import signals

    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    signals.watch_signals(INTERRUPTED.get(verb, "interrupted"))  # before anything imports NumPy
    try:
        from maam.cli.app import run

        code = run(sys.argv[1:])
    except BaseException:
        if not signals.received():  # an import that is interrupted may raise anything
            raise
        code = 0
    if received := signals.received():
        with suppress(OSError, ValueError):  # closed, or its reader has gone
            sys.stdout.flush()
        signals.end(received)
    sys.exit(code)
