"""HTML: text that shows what it holds, tables, pictures within the page."""

from __future__ import annotations

import base64
import html
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

ROWS = 25  # of a table, before the rest is folded away

# Nothing may be loaded: neither from the net nor from beside the page.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def document(title: str, subtitle: str, parts: Iterable[str]) -> str:
    """A whole page that needs no network, no script and no other file.

    Args:
        title: plain text.
        subtitle, parts: HTML; empty parts are left out.
    """
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title>\n<style>\n{style}</style></head>\n<body>\n"
        f"<header><h1>{text(title)}</h1>{subtitle}</header>\n<main>"
        + "\n".join(filter(None, parts))
        + "</main>\n<footer>Made by maam. This page needs no network and no other file."
        "</footer>\n</body></html>\n"
    )


def text(value: object) -> str:
    """``value`` as HTML that shows it literally, in an attribute too; line breaks as escapes."""
    shown = (
        c if c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1]
        for c in str(value)
    )
    return html.escape("".join(shown), quote=True)


def marked(line: str) -> str:
    """A line as HTML, with what stands in backticks as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", text(line))


def percent(share: float, digits: int = 1) -> str:
    """A share in per cent; the number and its sign stay on one line."""
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table. All cells are HTML already; those of ``kind`` have their own style."""
    lines = [f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows]
    head = "".join(f'<th scope="col">{name}</th>' for name in header)
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def long_table(header: Sequence[str], rows: Sequence[Sequence[str]], kind: str, what: str) -> str:
    """A table whose rows after the first ``ROWS`` are folded away; ``what`` says what they are."""
    shown = table(header, rows[:ROWS], kind)
    if not (rest := rows[ROWS:]):
        return shown
    hidden = table(header, rest, kind)
    return f"{shown}<details><summary>{len(rest):,} more {text(what)}</summary>{hidden}</details>"


def properties(rows: Iterable[tuple[str, str]]) -> str:
    """A table of names and values. The values are HTML already, the names are not."""
    lines = [f'<tr><th scope="row">{text(name)}</th><td>{value}</td></tr>' for name, value in rows]
    return f'<table class="properties"><tbody>{"".join(lines)}</tbody></table>'


def section(title: str, anchor: str, *parts: str) -> str:
    """A part of the page under a heading. The parts are HTML already."""
    return f'<section id="{anchor}"><h2>{text(title)}</h2>{"".join(parts)}</section>'


def tiles(numbers: Iterable[tuple[str, str]]) -> str:
    """The main numbers, large, each over its name. The values are HTML already."""
    cells = (f"<div><b>{value}</b><span>{text(name)}</span></div>" for value, name in numbers)
    return f'<div class="numbers">{"".join(cells)}</div>'


def paragraph(content: str, kind: str = "") -> str:
    """A paragraph of HTML."""
    return f'<p class="{kind}">{content}</p>' if kind else f"<p>{content}</p>"


def picture(image: Image.Image, description: str) -> str:
    """An image within the page, as JPEG."""
    data = io.BytesIO()
    image.convert("RGB").save(data, "JPEG", quality=82, optimize=True)
    source = base64.b64encode(data.getvalue()).decode("ascii")
    width, height = image.size
    return (
        f'<img src="data:image/jpeg;base64,{source}" width="{width}" height="{height}" '
        f'alt="{text(description)}">'
    )


def bar(share: float) -> str:
    """A bar whose length is ``share`` of its cell."""
    return f'<span class="bar"><i style="width:{100 * min(max(share, 0), 1):.1f}%"></i></span>'
