"""Which parameters stay as they are (``--freeze``), by name, whatever the framework."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import filter as matching

from maam.core.errors import MaamError


def frozen_names(patterns: str, names: Sequence[str]) -> set[str]:
    """The names that match.

    Args:
        patterns: shell patterns, separated by commas; none: nothing is frozen.
        names: of the model's trainable parameters, as in its weight files.

    Raises:
        MaamError: a pattern matches nothing, or nothing would be left to train.
    """
    frozen: set[str] = set()
    for pattern in filter(None, (part.strip() for part in patterns.split(","))):
        matches = matching(names, pattern)
        if not matches:
            near = ", ".join(get_close_matches(pattern, names, cutoff=0))
            raise MaamError(f"`freeze={pattern}` matches no parameter: they are named like {near}")
        frozen.update(matches)
    if len(frozen) == len(names):
        raise MaamError(f"`freeze={patterns}` leaves nothing to train: name fewer parameters")
    return frozen
