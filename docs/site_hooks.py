"""How the site is made of pages and docstrings: called by MkDocs, and by Griffe, which reads them.

Links to files outside docs/ work in the repository only, so the site names the file in their place;
one that does not exist is a broken link, and so an error.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import griffe

DOCS = Path(__file__).parent
log = logging.getLogger("mkdocs.hooks")

_SEVERAL = re.compile(r"^( +)((?:\w+, )+)(\w+):", re.MULTILINE)  # a, b: what both are
_OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)(?:#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The page's text with links out of docs/ as names of files.

    Args:
        markdown: the text.
        page: of MkDocs.
    """
    folder = (DOCS / page.file.src_uri).parent

    def named(match: re.Match[str]) -> str:
        text, link = match.groups()
        target = (folder / link).resolve()
        if target.is_relative_to(DOCS):
            return match[0]
        if not target.exists():
            log.warning("%s links to %s, which does not exist", page.file.src_uri, link)
        name = target.relative_to(DOCS.parent).as_posix()
        return text if name in text or "`" in text else f"{text} (`{name}`)"

    return _OUTSIDE.sub(named, markdown)


class Docstrings(griffe.Extension):
    """Our docstrings as Griffe reads them: "Example:" would be prose, and "a, b: text" one name."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = _SEVERAL.sub(_one_each, text)


def _one_each(match: re.Match[str]) -> str:
    indent, first, last = match.groups()
    lines = (f"{indent}{name}: see ``{last}``.\n" for name in first.rstrip(", ").split(", "))
    return f"{''.join(lines)}{indent}{last}:"
