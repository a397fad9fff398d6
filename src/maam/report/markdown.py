"""Markdown: tables, code, and text that shows what it holds."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

UNKNOWN = "not recorded"

_NUMBER = re.compile(rf"[+-]?\d|-?$|{UNKNOWN}")  # how the cells of such a column begin


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown table, just the header if there are no rows; columns of numbers to the right."""
    lines = [list(row) for row in rows]
    rule = [
        "---:" if lines and all(map(_NUMBER.match, column)) else "---"
        for column in zip(*lines, strict=True)
    ] or ["---"] * len(header)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))


def code(language: str, text: str) -> str:
    """A block of code."""
    return f"```{language}\n{text}\n```"


def plain(value: object) -> str:
    """``value`` as Markdown that shows it literally, in a table cell too."""
    if value is None or value == "":
        return UNKNOWN
    line = html.escape(" ".join(str(value).split()), quote=False)
    for mark in "\\`*_[]|~$":
        line = line.replace(mark, f"\\{mark}")
    return line
