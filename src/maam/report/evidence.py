"""One image as a picture file: where the evidence for its class lies, and what the agents add."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from maam.report.pictures import maps_as_pictures
from maam.report.plots import TITLE_SIZE, save_figure, short

_CELL = 2.6  # inches
_SIDE = 300  # pixels of an agent's map, at least


def draw_evidence(
    picture: Image.Image,
    heat: Image.Image | None,
    titles: tuple[str, str],
    agents: Sequence[tuple[str, np.ndarray]],
    heading: str,
    path: Path,
) -> None:
    """Write a PNG: the image, its heat map, and the maps of the agents on one scale.

    Args:
        picture: the image.
        heat: the same with the evidence; None leaves it out.
        titles: of the two.
        agents: name and map (h, w), not negative, of each.
        heading: above all.
        path: where to.

    Raises:
        MaamError: it can't be written.
    """
    panels = [(picture, titles[0], "auto")]
    if heat is not None:
        panels.append((heat, titles[1], "auto"))
    if agents:
        maps = np.stack([each for _, each in agents])
        shares = maps.mean((1, 2)) / max(float(maps.mean((1, 2)).sum()), 1e-12)
        pictures = maps_as_pictures(maps, _SIDE)
        panels += [
            (image, f"{name}: {share:.0%}", "nearest")
            for (name, _), share, image in zip(agents, shares, pictures, strict=True)
        ]
    columns = len(panels) if len(panels) <= 4 else math.ceil(len(panels) / 2)
    rows = math.ceil(len(panels) / columns)
    tall = min(max(picture.height / picture.width, 0.4), 2)
    size = (max(columns * _CELL, 4), rows * (_CELL * tall + 0.35) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(short(heading, 30 * columns), fontsize=11)
    for number, (image, title, how) in enumerate(panels, 1):
        axes = figure.add_subplot(rows, columns, number)
        axes.set_axis_off()
        axes.imshow(np.asarray(image), interpolation=how)
        axes.set_title(short(title, 40), fontsize=TITLE_SIZE)
    save_figure(figure, path, title_width=_CELL - 0.1)
