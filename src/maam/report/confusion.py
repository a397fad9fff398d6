"""The confusion matrix as a table; of many classes, what is confused most and a small map."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from maam.report.html import paragraph, percent, table, text
from maam.report.verdict import Confusion

_TABLE = 25  # classes, so many fit side by side
_NAMED = 60  # classes, so many names fit under each other
_CELLS = 6000  # of the map, so that the page stays small


def confusion_view(
    matrix: np.ndarray, classes: Sequence[str], confused: Sequence[Confusion]
) -> str:
    """A table of counts, or for many classes a map.

    Args:
        matrix: (K, K) counts, rows true, columns predicted.
        classes: K names.
        confused: the wrong answers, the most frequent first.
    """
    if len(classes) <= _TABLE:
        return _counts(matrix, classes)
    return _map(matrix, classes, confused)


def confused_pairs(confused: Sequence[Confusion], classes: Sequence[str], most: int = 10) -> str:
    """The most frequent wrong answers, as a table."""
    rows = [
        (
            text(classes[each.true]),
            text(classes[each.answer]),
            f"{each.count:,} of {each.images:,}",
            percent(each.count / each.images, 0),
        )
        for each in confused[:most]
    ]
    left = sum(each.count for each in confused[most:])
    more = paragraph(f"{left:,} more wrong answers are spread over other pairs.") if left else ""
    return table(("Class", "taken for", "Images", "Share"), rows, "numbers2") + more


def _counts(matrix: np.ndarray, classes: Sequence[str]) -> str:
    totals = matrix.sum(1)
    kind = ' class="upright"' if any(len(name) > 3 for name in classes) else ""
    head = "".join(f'<th scope="col"><span>{text(name)}</span></th>' for name in classes)
    lines = []
    for row, counts in enumerate(matrix.tolist()):
        cells = "".join(
            _cell(row, column, count, int(totals[row]), classes)
            for column, count in enumerate(counts)
        )
        lines.append(f'<tr><th scope="row">{text(classes[row])}</th>{cells}</tr>')
    return (
        '<div class="scroll"><table class="confusion">'
        f"<thead{kind}><tr>"
        f'<th class="corner">class, by answer</th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(row: int, column: int, count: int, total: int, classes: Sequence[str]) -> str:
    if not count:
        return "<td></td>"
    kind = "right" if row == column else "wrong"
    strength = 0.12 + 0.6 * math.sqrt(count / total)
    what = text(f"{classes[row]} taken for {classes[column]}: {count} of {total}")
    return f'<td class="{kind}" style="--share:{strength:.2f}" title="{what}">{count}</td>'


def _map(matrix: np.ndarray, classes: Sequence[str], confused: Sequence[Confusion]) -> str:
    """Squares on a grid, one for each answer that was given; names where they fit."""
    size = len(classes)
    named = size <= _NAMED
    step = 12 if named else max(2, 720 // size)
    room = 7 * min(24, max(map(len, classes))) if named else 0
    totals = np.maximum(matrix.sum(1), 1)
    cells = [(row, row, int(matrix[row, row])) for row in range(size) if matrix[row, row]]
    cells += [(each.true, each.answer, each.count) for each in confused[: _CELLS - size]]
    squares = "".join(
        f'<rect class="{"right" if row == column else "wrong"}" x="{room + column * step}" '
        f'y="{row * step}" width="{step}" height="{step}" '
        f'fill-opacity="{0.15 + 0.85 * math.sqrt(count / totals[row]):.2f}">'
        + (
            f"<title>{text(f'{classes[row]} taken for {classes[column]}: {count}')}</title>"
            if row != column
            else ""
        )
        + "</rect>"
        for row, column, count in cells
    )
    names = "".join(
        f'<text x="{room - 6}" y="{row * step + 10}" text-anchor="end">{text(_short(name))}</text>'
        for row, name in enumerate(classes)
        if named
    )
    side = size * step
    return (
        f'<div class="scroll"><svg class="map" viewBox="0 0 {room + side} {side}" '
        f'style="width:{room + side}px" role="img" aria-label="Confusion matrix">'
        f'<rect class="frame" x="{room}" y="0" width="{side}" height="{side}"/>{squares}{names}'
        "</svg></div>"
    )


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}\N{HORIZONTAL ELLIPSIS}"
