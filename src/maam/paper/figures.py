"""The plots of a reproduction: Figure 2, and the weights that the agents get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from maam.paper.published import NAMES
from maam.paper.runs import Report, tables_of
from maam.report.plots import agent_weights, draw_line, epoch_axis, save_figure


def losses(report: Report, path: Path) -> None:
    """Figure 2, redrawn: training loss against epoch; a band where there are several runs.

    Nothing is written if no model of the figure was trained.
    """
    trained = [model for model in ("rnn", "mlp", "cnn", "maam") if tables_of(report, model)]
    if not trained:
        return
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    figure.suptitle("Training loss of different models (the paper's Figure 2, measured)")
    axes = figure.subplots()
    longest = np.arange(1)
    for number, model in enumerate(trained):
        curves = np.array([run["loss"] for run in tables_of(report, model)])  # (runs, epochs)
        epochs = np.arange(1, curves.shape[1] + 1)
        runs = "1 run" if len(curves) == 1 else f"mean of {len(curves)} runs"
        draw_line(axes, number, epochs, curves.mean(0), f"{NAMES[model]}, {runs}")
        axes.fill_between(epochs, curves.min(0), curves.max(0), alpha=0.25, linewidth=0)
        longest = max(longest, epochs, key=len)
    axes.set_ylabel("training loss (nats)")
    axes.set_ylim(bottom=0)
    epoch_axis(axes, longest)
    axes.legend()
    save_figure(figure, path)


def scalars(report: Report, path: Path) -> None:
    """The agents' softmaxed weights in the first run of the paper's model, if it was trained."""
    for run in tables_of(report, "maam")[:1]:
        weights = enumerate(run["agent_weights"], start=1)
        agent_weights([{"epoch": e, "agent_weights": w} for e, w in weights], path)
