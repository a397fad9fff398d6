"""Every plot is a readable PNG that shows the right things, with no text cut off or overlapping."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from maam.core.errors import MaamError
from maam.report import gallery, plots

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
REAL_PICTURES = True

LONG = [f"a species with quite a long name, number {i}" for i in range(40)]
HOSTILE = ["$x^$", "two\nlines", "\u65e5\u672c", "W" * 60, "", "\udcff"]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that have been written, for a look at what is on them."""
    figures: list[Figure] = []
    save = plots.save_figure

    def keep(figure: Figure, *args: Any, **options: Any) -> None:
        save(figure, *args, **options)
        figures.append(figure)

    for module in (gallery, plots):
        monkeypatch.setattr(module, "save_figure", keep)
    return figures


def history(epochs: int, validation: bool = True, agents: tuple[int, ...] = ()) -> list[dict]:
    return [
        {
            "epoch": epoch,
            "train_loss": 2 / epoch,
            "train_accuracy": 1 - 0.6 / epoch,
            "val_loss": 2.2 / epoch if validation else None,
            "val_accuracy": 1 - 0.7 / epoch if validation else None,
            "agent_weights": [[1 / n] * n for n in agents],
        }
        for epoch in range(1, epochs + 1)
    ]


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


@pytest.mark.parametrize("epochs", [1, 2, 15, 300])
def test_curves(epochs: int, tmp_path: Path, drawn: list[Figure]) -> None:
    plots.curves(history(epochs), tmp_path / "curves.png")
    width, height = size(tmp_path / "curves.png")
    assert width >= 1000 and height >= 400
    loss, accuracy = drawn[0].axes
    assert loss.get_xlabel() == accuracy.get_xlabel() == "epoch"
    assert loss.get_ylabel() == "loss (nats)"
    assert accuracy.get_ylabel() == "accuracy (%)"
    # Fractions are drawn as percentages.
    last = np.array(accuracy.lines[1].get_data())[:, -1]
    np.testing.assert_allclose(last, [epochs, 100 * (1 - 0.7 / epochs)])
    assert all(float(tick).is_integer() for tick in loss.get_xticks())
    assert loss.lines[0].get_marker() not in ("", "None", None)  # one epoch would be invisible
    check_texts(drawn[0])


def test_curves_name_the_best_epoch_and_bear_gaps(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = history(4)
    rows[3] |= {"val_loss": None, "val_accuracy": None}
    rows[1] |= {"val_loss": 0.01, "val_accuracy": 0.8751}
    plots.curves(rows, tmp_path / "curves.png")
    labels = [axes.get_legend_handles_labels()[1][1] for axes in drawn[0].axes]
    assert labels == [
        "validation (best 0.01 at epoch 2)",
        "validation (best 87.51 % at epoch 2)",
    ]


def test_curves_call_the_kept_epoch_the_best(tmp_path: Path, drawn: list[Figure]) -> None:
    """Of equal accuracies, the one with the lower loss."""
    rows = [row | {"val_accuracy": 0.5} for row in history(3)]
    plots.curves(rows, tmp_path / "curves.png")
    labels = drawn[0].axes[1].get_legend_handles_labels()[1]
    assert labels[1] == "validation (best 50 % at epoch 3)"


def test_curves_without_validation_say_so(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.curves(history(3, validation=False), tmp_path / "curves.png")
    for axes in drawn[0].axes:
        assert axes.get_legend_handles_labels()[1] == ["training (no validation images)"]


@pytest.mark.parametrize("agents", [(1,), (3,), (2, 2), (3, 8, 1, 5, 3)])
def test_agent_weights(agents: tuple[int, ...], tmp_path: Path, drawn: list[Figure]) -> None:
    assert plots.agent_weights(history(5, agents=agents), tmp_path / "weights.png")
    width, height = size(tmp_path / "weights.png")
    assert width >= 700 and height >= 400
    assert len(drawn[0].axes) == len(agents)
    for count, axes in zip(agents, drawn[0].axes, strict=True):
        assert len(axes.lines) == count + 1
        assert axes.get_ylim() == (0, 1)
        assert axes.lines[-1].get_linestyle() == "--"
        np.testing.assert_allclose(np.array(axes.lines[-1].get_data())[1], 1 / count)
        looks = {(line.get_color(), line.get_marker()) for line in axes.lines}
        assert len(looks) == count + 1
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert set(legend) == {*(f"agent {i + 1}" for i in range(max(agents))), "equal weights"}
    check_texts(drawn[0])


def test_no_agent_weights_no_file(tmp_path: Path) -> None:
    assert not plots.agent_weights(history(3), tmp_path / "weights.png")
    assert not plots.agent_weights([{"epoch": 1}], tmp_path / "weights.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("classes", [["cat", "dog"], CIFAR, LONG[:3], LONG[:20], LONG, HOSTILE])
def test_confusion(classes: list[str], tmp_path: Path, drawn: list[Figure]) -> None:
    matrix = np.eye(len(classes), dtype=int) * 90 + 1
    plots.confusion(matrix.tolist(), classes, tmp_path / "confusion.png")
    width, height = size(tmp_path / "confusion.png")
    assert width >= 600 and height >= 500
    axes, bar = drawn[0].axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert bar.get_ylabel() == "share of the true class (%)"
    assert len(axes.texts) == (len(classes) ** 2 if len(classes) <= 20 else 0)
    check_texts(drawn[0])


def test_confusion_numbers_are_percentages_of_the_true_class(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    plots.confusion([[2, 1, 0], [0, 7, 0], [0, 0, 0]], ["a", "b", "c"], tmp_path / "confusion.png")
    cells = {text.get_position(): text.get_text() for text in drawn[0].axes[0].texts}
    # Positions are (column, row); the class without images has no numbers.
    assert cells == {
        (0, 0): "66.7",
        (1, 0): "33.3",
        (2, 0): "0",
        (0, 1): "0",
        (1, 1): "100",
        (2, 1): "0",
    }
    assert "grey: no images" in drawn[0].axes[0].get_title()


@pytest.mark.parametrize("count", [101, 1000])
def test_very_many_classes_have_numbers(count: int, tmp_path: Path, drawn: list[Figure]) -> None:
    plots.confusion(np.eye(count), ["breed"] * count, tmp_path / "confusion.png")
    assert max(size(tmp_path / "confusion.png")) <= 2500
    axes = drawn[0].axes[0]
    assert axes.get_xlabel() == "predicted class (number)"
    labels = [label.get_text() for label in tick_labels(axes)]
    assert "0" in labels and len(labels) < 40 and not axes.texts
    check_texts(drawn[0])


@pytest.mark.parametrize(
    ("count", "side", "channels", "classes"),
    [(40, 8, 1, CIFAR), (10, 32, 3, CIFAR), (3, 32, 3, LONG), (6, 200, 3, HOSTILE)],
)
def test_batch(count, side, channels, classes, tmp_path: Path, drawn: list[Figure]) -> None:
    images = np.zeros((count, channels, side, side), np.float32)
    labels = np.arange(count) % len(classes)
    gallery.batch(
        images, labels, classes, tmp_path / "batch.png", [0.5] * channels, [0.2] * channels
    )
    width, height = size(tmp_path / "batch.png")
    assert width >= 1000 and height >= 250
    (axes,) = drawn[0].axes
    assert len(axes.images) == len(axes.texts) == min(count, 32)
    # Few pixels are enlarged as they are.
    assert (axes.images[0].get_interpolation() == "nearest") == (side < 180)
    check_texts(drawn[0])


def test_batch_shows_the_colours_before_normalisation(tmp_path: Path) -> None:
    colour = np.array([200, 80, 40])
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.1, 0.2, 0.3])
    images = np.empty((1, 3, 8, 8), np.float32)
    images[:] = ((colour / 255 - mean) / std)[None, :, None, None]
    gallery.batch(
        images, np.array([0]), ["red"], tmp_path / "batch.png", mean.tolist(), std.tolist()
    )
    pixels = np.asarray(Image.open(tmp_path / "batch.png").convert("RGB")).astype(int)
    assert (np.abs(pixels - colour).max(axis=2) <= 1).sum() > 10_000


def test_grey_stays_between_black_and_white(tmp_path: Path) -> None:
    """A dim grey picture is not stretched to the full range."""
    images = np.full((1, 1, 8, 8), 0.25, np.float32)
    gallery.batch(images, np.array([0]), ["dim"], tmp_path / "batch.png", [0.0], [1.0])
    pixels = np.asarray(Image.open(tmp_path / "batch.png").convert("RGB")).astype(int)
    assert (np.abs(pixels - 64).max(axis=2) <= 1).sum() > 10_000


def test_mistakes_are_the_most_confident_wrong_answers(tmp_path: Path, drawn: list[Figure]) -> None:
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.97, 0.03], [0.2, 0.8], [0.0, 1.0]])
    labels = np.array([1, 0, 1, 0, 1])  # all wrong but the last
    gallery.mistakes(
        np.zeros((5, 8, 8, 3), np.uint8).__getitem__,
        labels,
        probabilities,
        [f"{i}.jpg" for i in range(5)],
        ["cat", "dog"],
        tmp_path / "mistakes.png",
        count=3,
    )
    arrow = "\u2192"
    (axes,) = drawn[0].axes
    assert [text.get_text() for text in axes.texts] == [
        f"dog {arrow} cat, 97 %\n2.jpg",
        f"cat {arrow} dog, 90 %\n1.jpg",
        f"cat {arrow} dog, 80 %\n3.jpg",
    ]
    assert drawn[0].get_suptitle().startswith("The 3 most confident of 4 mistakes on 5 images")


@pytest.mark.parametrize(
    ("count", "classes", "shape"),
    [
        (25, CIFAR, (8, 8, 1)),
        (6, LONG, (32, 32, 3)),
        (6, ["cat", "dog"], (20, 60, 3)),
        (6, HOSTILE, (60, 3, 3)),
    ],
)
def test_mistakes_page(count, classes, shape, tmp_path: Path, drawn: list[Figure]) -> None:
    rng = np.random.default_rng(0)
    total = 60
    probabilities = rng.dirichlet(np.ones(len(classes)), total)
    labels = (probabilities.argmax(axis=1) + 1) % len(classes)
    gallery.mistakes(
        rng.integers(0, 256, (total, *shape), np.uint8).__getitem__,
        labels,
        probabilities,
        [f"a folder/with a long name/{'m' * 30}{i}.jpg" for i in range(total)],
        classes,
        tmp_path / "mistakes.png",
        count,
    )
    width, height = size(tmp_path / "mistakes.png")
    assert width >= 1000 and height >= 300
    (axes,) = drawn[0].axes
    assert len(axes.images) == len(axes.texts) == count
    lowest = min(image.get_extent()[2] for image in axes.images)
    assert lowest >= 0
    for image, text in zip(axes.images, axes.texts, strict=True):
        left, right, low, high = image.get_extent()
        np.testing.assert_allclose((high - low) / (right - left), shape[0] / shape[1])
        assert text.get_position()[1] > high  # a title is above its picture
    check_texts(drawn[0])


def test_no_mistakes_is_said(tmp_path: Path, drawn: list[Figure]) -> None:
    gallery.mistakes(
        np.zeros((2, 8, 8, 1), np.uint8).__getitem__,
        np.array([0, 1]),
        np.eye(2),
        ["a", "b"],
        ["cat", "dog"],
        tmp_path / "mistakes.png",
    )
    assert size(tmp_path / "mistakes.png")[0] >= 1000
    assert drawn[0].get_suptitle() == "No mistakes: the model was right about all 2 images."
    check_texts(drawn[0])


def test_an_empty_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaamError, match="no epoch"):
        plots.curves([], tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MaamError, match=r"curves\.png"):
        plots.curves(history(1), tmp_path / "missing" / "curves.png")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "curves.png"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(MaamError, match="No space left"):
        plots.curves(history(1), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_global_is_touched() -> None:
    """No pyplot; and scores and cards need neither Matplotlib nor a framework at import."""
    program = (
        "import sys, maam.core.metrics, maam.report.card\n"
        "heavy = {'matplotlib', 'sklearn', 'mindspore', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import maam.report.plots\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
