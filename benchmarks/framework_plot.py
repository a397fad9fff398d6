"""results/framework_speed.json -> PNG: images per second, one panel a model, batch and kind."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework_forms import FORMS, SHIPPED
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maam.core.files import write_atomic
from maam.report.plots import COLOURS, DPI

OURS, RIVAL = COLOURS[1], COLOURS[5]


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Write the plot of a report of ``framework_speed.py`` to ``path``.

    Bars are medians over the rounds, whiskers the slowest and the fastest round; our form has a
    colour of its own, and a form that failed says so.
    """
    rows = report["rows"]
    whats = list(dict.fromkeys(row["what"] for row in rows))
    cases = list(dict.fromkeys((row["model"], row["batch"]) for row in rows))
    forms = [form for form in FORMS if any(row["form"] == form for row in rows)]
    height = len(cases) * (0.27 * len(forms) + 0.75) + 0.6  # inches
    figure = Figure(figsize=(6.2 + 4 * (len(whats) - 1), height), layout="constrained", dpi=DPI)
    threads = f"{report['threads']} threads" if report["device"] == "cpu" else "one GPU"
    figure.suptitle(
        f"Images per second, more is better: {threads}, median over the rounds "
        f"(whiskers: slowest and fastest of {report['rounds']})",
        fontsize=11,
    )
    grid = figure.subplots(len(cases), len(whats), squeeze=False, sharey="row")
    for line, (model, batch) in zip(grid, cases, strict=True):
        for axes, what in zip(line, whats, strict=True):
            panel = {
                row["form"]: row
                for row in rows
                if (row["what"], row["model"], row["batch"]) == (what, model, batch)
            }
            axes.set_title(f"{model}, batch {batch}: {what}", fontsize=10)
            _bars(axes, [panel.get(form) for form in forms])
        line[0].set_yticks(range(len(forms)), [FORMS[form].label for form in forms], fontsize=8.5)
        line[0].set_ylim(len(forms) - 0.5, -0.5)  # the first form on top
        for form, label in zip(forms, line[0].get_yticklabels(), strict=True):
            label.set_fontweight("bold" if form == SHIPPED else "normal")
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI)
    write_atomic(path, png.getvalue())


def _bars(axes: Axes, rows: list[Mapping[str, Any] | None]) -> None:
    """One bar for each row that has a time, at its place in the list."""
    for place, row in enumerate(rows):
        if row is None:
            continue
        if "ms" not in row:
            axes.text(0, place, " failed", va="center", fontsize=8.5, color="0.4")
            continue
        speed = row["images_per_second"]
        slowest, fastest = (1000 * row["batch"] / row[key] for key in ("ms_max", "ms_min"))
        axes.barh(place, speed, 0.72, color=OURS if row["form"] == SHIPPED else RIVAL)
        spread = [[max(0, speed - slowest)], [max(0, fastest - speed)]]
        axes.errorbar(speed, place, xerr=spread, color="0.25", capsize=2.5, linewidth=1)
        axes.annotate(
            f"{speed:,.0f}",
            (max(speed, fastest), place),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
    axes.set_xlim(0, 1.17 * max(axes.get_xlim()[1], 1))
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
