"""The one exception for what a user can mend, and the words in it."""

from __future__ import annotations

from collections.abc import Sequence


class MaamError(Exception):
    """Bad input or a machine that lacks something: one line that says what is wrong and what to do.

    Options stand in it in backticks and as Python spells them, such as ```early_stopping`` or
    ```device=CUDA``; the command line spells them as its flags.
    """


def first_line(error: Exception, length: int = 200) -> str:
    """The first line of what an error says, cut to ``length``; its class, if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:length] if lines else type(error).__name__


def listed(names: Sequence[object], most: int = 5) -> str:
    """Names for a sentence: the first, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
