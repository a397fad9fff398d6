"""Accuracy against latency, of models in runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from maam.core.errors import MaamError
from maam.report.plots import COLOURS, MARKERS, save_figure, short
from maam.report.runtimes import Row


def accuracy_plot(rows: Sequence[Row], machine: str, path: Path) -> None:
    """One point for each row whose accuracy is known, as a PNG; a colour for each runtime.

    Args:
        rows: see ``Row``.
        machine: the processor, for the heading.
        path: the file to write.

    Raises:
        MaamError: no accuracy is known, or the file can't be written.
    """
    known = [row for row in rows if row["accuracy"] is not None]
    if not known:
        raise MaamError("no accuracy is known to draw: score with `data`")
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    kinds = list(dict.fromkeys((row["runtime"], row["threads"]) for row in known))
    for number, (runtime, threads) in enumerate(kinds):
        points = [row for row in known if (row["runtime"], row["threads"]) == (runtime, threads)]
        axes.plot(
            [row["p50_ms"] for row in points],
            [100 * row["accuracy"] for row in points],
            MARKERS[number % len(MARKERS)],
            color=COLOURS[number % len(COLOURS)],
            markerfacecolor="none" if threads > 1 else None,
            label=f"{runtime}, {threads} thread{'' if threads == 1 else 's'}",
        )
    for name in dict.fromkeys(row["model"] for row in known):
        best = min((row for row in known if row["model"] == name), key=lambda row: row["p50_ms"])
        axes.annotate(
            short(name, 30),
            (best["p50_ms"], 100 * best["accuracy"]),
            (-6, 6),
            textcoords="offset points",
            ha="right",
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.margins(0.2)
    axes.set(xlabel="milliseconds an image (median)", ylabel="accuracy (%)")
    axes.grid(alpha=0.3, which="both")
    axes.set_title(f"Accuracy against latency, {machine}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3)
    save_figure(figure, path)
