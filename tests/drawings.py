"""What tests of pictures share: class names, and looks at a PNG and at the texts of a figure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
LONG = [f"a species with quite a long name, number {i}" for i in range(40)]
HOSTILE = ["$x^$", "two\nlines", "\u65e5\u672c", "W" * 60, "", "\udcff"]


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG that decodes in full and is alone in its folder."""
    assert list(path.parent.iterdir()) == [path]
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        return image.size


def tick_labels(axes: Axes) -> Iterator[Text]:
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        for place, label in zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=False):
            if low <= place <= high:
                yield label


def check_texts(figure: Figure) -> None:
    """No text leaves the figure, and no two texts overlap."""
    texts = list(figure.texts)
    for legend in figure.legends:
        texts += legend.get_texts()
    for axes in figure.axes:
        texts += [axes.title, *axes.texts]
        if axes.axison:
            texts += [axes.xaxis.label, axes.yaxis.label, *tick_labels(axes)]
        legend = axes.get_legend()
        texts += legend.get_texts() if legend else []
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    assert boxes
    for text, box in boxes:
        inside = box.x0 >= -1 and box.y0 >= -1
        inside &= box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
        assert inside, f"{text!r} is cut off"
    for (one, a), (two, b) in itertools.combinations(boxes, 2):
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart, f"{one!r} and {two!r} overlap"
