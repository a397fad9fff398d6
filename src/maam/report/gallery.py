"""Images -> PNG files: a batch, and the worst mistakes, as grids of titled pictures.

Drawn as those of ``plots``: each function writes one PNG at ``path``, whole or not at all, and
raises MaamError if it cannot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from maam.report.plots import DPI, TITLE_SIZE, save_figure, short

ARROW = "\N{RIGHTWARDS ARROW}"


def batch(
    images: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    path: Path,
    mean: Sequence[float],
    std: Sequence[float],
) -> None:
    """The first 32 images of a batch as the network sees them, each titled with its class.

    Args:
        images: float (N, C, H, W), C = 1 or 3, normalised: (x / 255 - mean) / std.
        labels: (N,) indices into ``classes``.
        classes: names, in label order.
        mean, std: C numbers each, undone here to show natural colours.
    """
    shown = images[:32] * np.reshape(std, (-1, 1, 1)) + np.reshape(mean, (-1, 1, 1))
    pictures = np.clip(shown, 0, 1).transpose(0, 2, 3, 1)  # (n, H, W, C)
    titles = [short(classes[label], 18) for label in labels[:32]]
    height, width = images.shape[2:]
    heading = f"A batch as the network sees it: {height} x {width} pixels"
    if len(images) > len(pictures):
        heading += f", {len(pictures)} of {len(images)} images"
    _gallery(pictures, titles, heading, path, columns=8, cell=1.5)


def mistakes(
    images: Callable[[np.ndarray], np.ndarray],
    labels: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
    classes: Sequence[str],
    path: Path,
    count: int = 25,
) -> None:
    """The wrong answers that the model was surest of: true -> predicted, probability, name.

    If there are none, the picture says so.

    Args:
        images: gives those at some of N places, uint8 (n, H, W, C), C = 1 or 3.
        labels: (N,) indices into ``classes``.
        probabilities: (N, K); the largest is the answer.
        names: N names of images.
        classes: K names.
        count: how many to show at most.
    """
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    if len(worst) == 0:
        heading = f"No mistakes: the model was right about all {len(labels):,} images."
    else:
        shown = f"The {len(worst)} most confident of" if len(worst) < len(wrong) else "All"
        heading = (
            f"{shown} {len(wrong):,} mistakes on {len(labels):,} images\n"
            f"true class {ARROW} predicted class, its probability, name of the image"
        )
    answers = [(short(classes[labels[i]], 24), short(classes[predicted[i]], 24)) for i in worst]
    # One line for "true -> predicted" if all of them are short enough, else two.
    gap = "\n" if any(len(true + answer) > 24 for true, answer in answers) else " "
    titles = [
        f"{true} {ARROW}{gap}{answer}, {100 * confidence[i]:.0f} %\n{short(names[i], 30)}"
        for i, (true, answer) in zip(worst, answers, strict=True)
    ]
    _gallery(images(worst) / 255, titles, heading, path, columns=5, cell=2.5)


def _gallery(
    pictures: np.ndarray, titles: Sequence[str], heading: str, path: Path, columns: int, cell: float
) -> None:
    """A grid of titled pictures (n, H, W, C) from 0 to 1, each ``cell`` inches wide."""
    rows = math.ceil(len(pictures) / columns)
    lines = 1 + max((title.count("\n") for title in titles), default=0)
    ratio = pictures.shape[1] / pictures.shape[2]
    tall = cell * min(max(ratio, 0.3), 2)  # inches, as all here
    room = 0.3 + 0.2 * (1 + heading.count("\n"))
    width, height = columns * cell, rows * (tall + 0.17 * lines) + room
    figure = Figure(figsize=(width, height))
    figure.suptitle(heading, y=1 - 0.1 / height)
    # One system of axes for all pictures: one for each takes longer to draw.
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height), autoscale_on=False)
    axes.set_axis_off()
    # Small images are enlarged to crisp pixels; large ones are shrunk without aliasing.
    half = 0.48 * min(cell, tall / ratio)
    how = "nearest" if pictures.shape[2] <= 2 * half * DPI else "auto"
    colour = pictures.shape[3] == 3
    for index, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        row, column = divmod(index, columns)
        middle, low = (column + 0.5) * cell, (rows - row - 1) * (tall + 0.17 * lines) + 0.05
        high = low + 2 * half * ratio
        axes.imshow(
            picture if colour else picture[:, :, 0],
            cmap="gray",
            vmin=0,
            vmax=1,
            interpolation=how,
            extent=(middle - half, middle + half, low, high),
            aspect="auto",
        )
        axes.text(middle, high + 0.04, title, ha="center", va="bottom", fontsize=TITLE_SIZE)
    save_figure(figure, path, title_width=cell - 0.1)
