"""Every plot is a readable PNG that shows the right things, with no text cut off or overlapping."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawings import CIFAR, HOSTILE, LONG, check_texts, size, tick_labels
from matplotlib.figure import Figure

from maam.core.errors import MaamError
from maam.report import plots


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
