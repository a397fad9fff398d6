"""Lines over epochs as SVG, in the colours of the page that it stands in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from maam.report.html import text

_WIDTH, _HEIGHT = 460, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 34


def training_chart(history: Sequence[Mapping[str, Any]], key: str, unit: str) -> str:
    """Training and validation values of every epoch.

    Args:
        history: the rows of metrics.jsonl; values may be None.
        key: ``loss`` or ``accuracy``.
        unit: of the axis: values are in % if it is ``%``.
    """
    factor = 100 if unit == "%" else 1
    lines = {
        name: [
            (row["epoch"], factor * value)
            for row in history
            if (value := row.get(f"{short}_{key}")) is not None and math.isfinite(value)
        ]
        for name, short in (("training", "train"), ("validation", "val"))
    }
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    first, last = history[0]["epoch"], history[-1]["epoch"]
    ticks = _ticks(min(y for _, y in points), max(y for _, y in points), factor == 100)
    low, high = ticks[0], ticks[-1]

    def across(epoch: float) -> float:
        share = (epoch - first) / (last - first) if last > first else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def down(value: float) -> float:
        return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{down(tick):.1f}" '
        f'y2="{down(tick):.1f}"/><text x="{_LEFT - 6}" y="{down(tick) + 4:.1f}" '
        f'text-anchor="end">{tick:g}</text>'
        for tick in ticks
    ]
    parts += [
        f'<text x="{across(epoch):.1f}" y="{_HEIGHT - 16}" text-anchor="middle">{epoch}</text>'
        for epoch in _epochs(first, last)
    ]
    for name, line in lines.items():
        path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in line)
        parts.append(f'<polyline class="{name}" points="{path}"/>')
        if len(line) <= 40:
            parts += [
                f'<circle class="{name}" cx="{across(x):.1f}" cy="{down(y):.1f}" r="3">'
                f"<title>{text(f'{name}, epoch {x}: {y:.4g} {unit}')}</title></circle>"
                for x, y in line
            ]
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 2}" text-anchor="middle">'
        "epoch</text>"
    )
    legend = "".join(
        f'<span class="key {name}">{name}</span>' for name, line in lines.items() if line
    )
    title = f"{key.capitalize()} ({unit})"
    return (
        f"<figure class='chart'><figcaption><b>{text(title)}</b>{legend}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(title)} by epoch">'
        f"{''.join(parts)}</svg></figure>"
    )


def _ticks(low: float, high: float, percent: bool) -> list[float]:
    """Round numbers that hold ``low`` and ``high``, four to seven of them."""
    span = high - low or max(abs(high), 1.0)
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each * 5 >= span)
    start, end = math.floor(low / step), math.ceil(high / step)
    end = max(end, start + 1)
    if percent and end * step > 100:
        end = math.floor(100 / step)
        start = min(start, end - 1)
    return [float(f"{number * step:.10g}") for number in range(start, end + 1)]


def _epochs(first: int, last: int) -> list[int]:
    """At most eight epochs to write under the axis."""
    step = max(1, math.ceil((last - first) / 7))
    return list(range(first, last + 1, step))
