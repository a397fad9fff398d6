"""Numbers -> PNG files: curves, confusion matrix, the agents' weights; pictures are in ``gallery``.

Drawn on Matplotlib figures of their own: no pyplot, no window, no global state. Each function
writes one PNG at ``path``, whole or not at all, and raises MaamError if it cannot.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.core.metrics import best_epoch

DPI = 120
TITLE_SIZE = 9  # of the pictures in a gallery, in points
# Okabe and Ito's colours, which stay apart for colour-blind eyes; markers repeat the difference.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
# Tried in turn for letters that Matplotlib's own font lacks, if they are installed.
FALLBACK_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Microsoft YaHei", "PingFang SC")

History = Sequence[Mapping[str, Any]]


def curves(history: History, path: Path) -> None:
    """Loss and accuracy of every epoch, training and validation, side by side.

    Args:
        history: rows of metrics.jsonl; accuracies from 0 to 1, validation values may be None.

    Raises:
        MaamError: the history is empty, or ``path`` cannot be written.
    """
    epochs = _epochs(history)
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    figure.suptitle("Training, epoch by epoch")
    panels = figure.subplots(1, 2)
    for axes, key, axis, unit, scale in (
        (panels[0], "loss", "loss (nats)", "", 1),
        (panels[1], "accuracy", "accuracy (%)", " %", 100),
    ):
        training = scale * _column(history, f"train_{key}")
        validation = scale * _column(history, f"val_{key}")
        only = np.isnan(validation).all()
        draw_line(
            axes, 0, epochs, training, "training (no validation images)" if only else "training"
        )
        if not only:
            kept = list(history).index(best_epoch(history) or history[0])
            top = int(np.nanargmin(validation)) if key == "loss" else kept
            label = f"validation (best {validation[top]:.4g}{unit} at epoch {epochs[top]})"
            draw_line(axes, 1, epochs, validation, label)
        axes.set(title=key.capitalize(), ylabel=axis)
        epoch_axis(axes, epochs)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)  # hides no point
    save_figure(figure, path)


def agent_weights(history: History, path: Path) -> bool:
    """The softmaxed fusion scalars of every MAAM module, one panel a module, one line an agent.

    Returns:
        False, and nothing is written, if the history has no agents' weights.
    """
    history = [row for row in history if row.get("agent_weights")]
    if not history:
        return False
    modules = len(history[0]["agent_weights"])
    epochs = _epochs(history)
    columns = min(3, modules)
    rows = math.ceil(modules / columns)
    figure = Figure(figsize=(max(6.5, 4.2 * columns), 3.4 * rows + 0.9), layout="constrained")
    figure.suptitle("Weight of each agent, epoch by epoch")
    key = {}
    for module in range(modules):
        axes = figure.add_subplot(rows, columns, module + 1)
        weights = np.array([row["agent_weights"][module] for row in history])  # (epochs, agents)
        for agent, line in enumerate(weights.T):
            draw_line(axes, agent, epochs, line, f"agent {agent + 1}")
        axes.axhline(1 / weights.shape[1], color="0.4", linestyle="--", label="equal weights")
        axes.set(title=f"MAAM module {module + 1}", ylabel="softmax weight (share of 1)")
        axes.set_ylim(0, 1)
        epoch_axis(axes, epochs)
        key |= {line.get_label(): line for line in axes.lines}
    figure.legend(handles=list(key.values()), loc="outside lower center", ncols=6)
    save_figure(figure, path)
    return True


def confusion(
    matrix: Sequence[Sequence[int]] | np.ndarray, classes: Sequence[str], path: Path
) -> None:
    """Confusion matrix as percentages of each true class.

    Args:
        matrix: (K, K) counts, rows true, columns predicted.
        classes: K names. From 21 classes on the cells carry no numbers, and from 101 on the
            classes have numbers, from 0, in place of names.
    """
    counts = np.asarray(matrix, float)
    totals = counts.sum(axis=1, keepdims=True)
    percent = 100 * np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    size = len(classes)
    names = [short(name, 24) for name in classes] if size <= 100 else []
    longest = max(map(len, names), default=0)
    upright = size > 20 or longest * size > 60  # side by side, they would touch each other
    small = 9 if size <= 20 else 7
    side = float(np.clip(0.5 * size, 4, 14)) + 1
    room = 0.075 * longest  # inches
    figure = Figure(figsize=(side + room + 1.5, side + room * upright), layout="constrained")
    axes = figure.subplots()
    absent = " (grey: no images)" if np.isnan(percent).any() else ""
    axes.set_title(f"Confusion matrix, {int(counts.sum()):,} images{absent}")
    axes.set_facecolor("0.85")
    # On a square-root scale the rare confusions, which are what one looks for, stay visible.
    image = axes.imshow(percent, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=100))
    figure.colorbar(image, label="share of the true class (%)", ticks=[0, 1, 5, 20, 50, 100])
    if names:
        axes.set_xticks(range(size), names, rotation=90 if upright else 0, fontsize=small)
        axes.set_yticks(range(size), names, fontsize=small)
    numbered = "" if names else " (number)"
    axes.set(xlabel=f"predicted class{numbered}", ylabel=f"true class{numbered}")
    if size <= 20:
        for (row, column), value in np.ndenumerate(percent):
            if not math.isnan(value):
                number = f"{value:.1f}" if 0 < value < 100 else f"{value:.0f}"
                colour = "white" if value > 30 else "black"
                axes.text(
                    column, row, number, ha="center", va="center", color=colour, fontsize=small
                )
    save_figure(figure, path)


def draw_line(axes: Axes, number: int, x: np.ndarray, y: np.ndarray, label: str) -> None:
    """One line; its number picks the colour and the marker, for 49 different pairs."""
    colour = COLOURS[number % len(COLOURS)]
    marker = MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]
    every = max(1, len(x) // 20)
    axes.plot(x, y, color=colour, marker=marker, markevery=every, label=label, clip_on=False)


def epoch_axis(axes: Axes, epochs: np.ndarray) -> None:
    """Whole epochs from the first to the last, with room for the markers at both ends."""
    room = max(0.5, 0.02 * (epochs[-1] - epochs[0]))
    axes.set_xlim(epochs[0] - room, epochs[-1] + room)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)


def _epochs(history: History) -> np.ndarray:
    if not history:
        raise MaamError("no epoch was trained, so there are no curves to draw")
    return np.array([row["epoch"] for row in history])


def _column(history: History, key: str) -> np.ndarray:
    """One value an epoch, NaN where there is none."""
    values = (row.get(key) for row in history)
    return np.array([math.nan if value is None else value for value in values], float)


def short(text: object, limit: int) -> str:
    """At most ``limit`` printable characters of ``text``; both ends stay."""
    letters = "".join(letter if letter.isprintable() else "?" for letter in str(text))
    if len(letters) <= limit:
        return letters
    return f"{letters[: limit // 2 - 1]}\N{HORIZONTAL ELLIPSIS}{letters[limit // 2 - limit :]}"


@cache
def _fonts() -> list[str]:
    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in FALLBACK_FONTS if name in installed)]


def save_figure(figure: Figure, path: Path, title_width: float = math.inf) -> None:
    """Write the figure as a PNG, whole or not at all; shrink titles to ``title_width`` inches."""
    figure.dpi = DPI
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)  # a class may be called $x$
        text.set_fontfamily(_fonts())
    png = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # drawn as an empty box
        for axes in figure.axes if title_width < math.inf else ():
            for text in (axes.title, *axes.texts):
                width = text.get_window_extent().width / DPI
                if width > title_width:
                    text.set_fontsize(float(text.get_fontsize()) * title_width / width)
        figure.savefig(png, format="png", dpi=DPI)
    write_atomic(path, png.getvalue())
