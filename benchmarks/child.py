"""Run a part of a benchmark in a process of its own, so that nothing it leaves behind counts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"


class ChildError(Exception):
    """A child process failed; the message is the one line of its last words that says why."""


def run_child(
    arguments: Sequence[str],
    variables: Mapping[str, str],
    folder: Path | None = None,
    timeout: float = 600,
) -> str:
    """What ``python ARGUMENTS`` prints, with ``maam`` importable from this checkout.

    Args:
        arguments: a script and its arguments.
        variables: environment variables on top of this process's own.
        folder: the working directory, this process's own when not given.
        timeout: seconds after which the child is killed.

    Raises:
        ChildError: it returned an error, died or took too long.
    """
    paths = [str(SOURCE), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        **variables,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            cwd=folder,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise ChildError(f"not done after {timeout:.0f} s") from None
    if done.returncode:
        raise ChildError(reason(done.stderr) or f"exit code {done.returncode}")
    return done.stdout


def reason(text: str) -> str:
    """The line of an error output that says what went wrong, "" for an empty one.

    Of a Python traceback the last line that names an error, at whatever length it goes on.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    return (named or lines or [""])[-1][:300]
