"""The model card says what it must, bears missing rows and odd names; the CSV reads back."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maam.core.errors import MaamError
from maam.core.metrics import score
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.report import gallery, plots
from maam.report.card import PLOTS, model_card, scores_table

CLASSES = ["ant", "bee", "cat", "dog", "elk", "fox"]
COMMAND = "maam train --recipe runs/insects/config.toml"
HISTORY = [
    {"epoch": 1, "train_loss": 2.5, "val_loss": None, "val_accuracy": 0.25, "agent_weights": []},
    {"epoch": 2, "train_loss": 1.5, "val_loss": 1.25, "val_accuracy": 0.75, "agent_weights": []},
    {"epoch": 3, "train_loss": 0.1, "val_loss": 1.5, "val_accuracy": 0.5, "agent_weights": []},
]


def make_scores(classes: list[str]) -> dict[str, Any]:
    count = len(classes)
    return score(4 * np.eye(count).repeat(2, axis=0), np.arange(count).repeat(2), classes)


def make_meta(classes: list[str]) -> RunMeta:
    return RunMeta(
        model="maam-p2",
        classes=tuple(classes),
        preprocessing={"size": [48, 64], "channels": 3, "mean": [0.0] * 3, "std": [1.0] * 3},
        parameters=8_512_345,
        macs=16_777_216,
        data="insects",
        data_source="a folder of insects",
        config={"epochs": 3, "learning_rate": 0.0125, "seed": 7, "device": "CPU", "limit": None},
        environment={"python": "3.11.9", "mindspore": "2.7.0"},
        seconds=7321.5,
        images={"train": 45_000, "val": 5_000, "test": 12},
        metrics={"split": "test"},
    )


EMPTY = RunMeta(model="", classes=(), preprocessing={})


def cells(line: str) -> list[str]:
    """The cells of a Markdown table's row, split where Markdown splits it."""
    return [cell.strip() for cell in re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]]


def table(card: str, first: str) -> dict[str, list[str]]:
    """Rows by first cell of the table whose header begins with ``first``."""
    lines = card.split(f"| {first} |", 1)[1].split("\n\n")[0].splitlines()
    return {cells(line)[0]: cells(line)[1:] for line in lines[2:]}


def test_card_says_what_a_reader_needs() -> None:
    card = model_card(make_meta(CLASSES), make_scores(CLASSES), HISTORY, COMMAND)
    assert card.startswith("# maam-p2 trained on insects\n")
    rows = table(card, "Property")
    assert rows["Parameters"] == ["8,512,345"]
    assert rows["Multiply-accumulates per image"] == ["16,777,216"]
    assert rows["Input"] == ["48 x 64 pixels (height x width)"]
    assert rows["Classes (6)"] == ["ant, bee, cat, dog, elk, fox"]
    assert rows["Source of the data"] == ["a folder of insects"]
    assert rows["Images, train"] == ["45,000"]

    results = table(card, "Score")
    assert results["Images"] == ["12"]
    assert results["Accuracy"] == results["Top-5 accuracy"] == ["100.00 %"]
    assert results["F1, macro average"] == ["100.00 %"]
    assert results["Balanced accuracy (mean recall)"] == ["100.00 %"]
    assert results["Accuracy, 95 % interval (Wilson)"] == ["75.75 % to 100.00 %"]
    assert "Classes in the macro averages" not in results
    # Confidence e^4 / (e^4 + 5) for right answers: the rest is the calibration error.
    assert results["Calibration error (ECE, 15 bins)"] == ["8.39 %"]
    assert table(card, "Class")["elk"] == ["2", "100.00 %", "100.00 %", "100.00 %"]

    training = table(card, "Training")
    assert training["Epochs trained"] == ["3"]
    assert training["Best validation accuracy"] == ["75.00 % at epoch 2"]
    assert training["Time spent in training"] == ["2 h 02 min"]
    options = table(card, "Option")
    assert options == {
        "`epochs`": ["3"],
        "`learning_rate`": ["0.0125"],
        "`seed`": ["7"],
        "`device`": ["CPU"],
        "`limit`": ["not set"],
    }
    assert table(card, "Environment")["mindspore"] == ["2.7.0"]

    assert f"```sh\n{COMMAND}\n```" in card
    assert "maam predict . photo.jpg" in card
    assert "maam.predict('.', ['photo.jpg'])" in card
    assert "RUN" not in card  # commands are those of this folder
    assert "RGB colour, fits it to 48 x 64 pixels (height x width) and divides its values" in card
    for limit in ("trained on insects only", "answers every image", "licence"):
        assert limit in card
    assert "not recorded" not in card


def test_card_says_when_an_image_is_called_unknown() -> None:
    meta = replace(make_meta(CLASSES), unknown={"threshold": 0.61285, "share": 0.025})
    card = model_card(meta, {}, HISTORY, COMMAND)
    assert '"unknown" where the best probability is below 0.6129, for at most 2.5 % of' in card
    assert "answers every image" not in card


def test_card_says_that_a_run_was_stopped_before_its_last_epoch() -> None:
    meta, done = make_meta(CLASSES), HISTORY[-1]["epoch"]
    told = f"It was stopped after epoch {done} of {done + 1}; a repetition trains all {done + 1}."
    for options, stopped in (({}, True), ({"early_stopping": 2}, False)):
        config = {**meta.config, "epochs": done + 1, **options}
        card = model_card(replace(meta, config=config), {}, HISTORY, COMMAND)
        assert (told in card) == stopped


def test_what_is_given_away_names_no_folders_of_this_machine() -> None:
    meta = replace(make_meta(CLASSES), data_source="images in /home/me/my photos/pets")
    assert meta.given_source == "images in pets"
    assert replace(meta, data_source="CIFAR-10 (JPEG copy)").given_source == "CIFAR-10 (JPEG copy)"


def test_card_explains_the_preprocessing_it_was_given() -> None:
    meta = make_meta(CLASSES)
    assert "subtracts" not in model_card(meta, {}, HISTORY, COMMAND)
    grey = {"size": [8, 8], "channels": 1, "mean": [0.1307], "std": [0.3081]}
    card = model_card(replace(meta, preprocessing=grey), {}, HISTORY, COMMAND)
    assert "turns it grey, fits it to 8 x 8 pixels" in card
    assert "subtracts 0.1307 and divides by 0.3081" in card


def test_card_links_the_plots_that_the_run_has() -> None:
    scores, weights = make_scores(CLASSES), [HISTORY[0] | {"agent_weights": [[0.4, 0.6]]}]

    def links(card: str) -> list[str]:
        return re.findall(r"!\[.+\]\(plots/(\w+\.png)\)", card)

    assert links(model_card(make_meta(CLASSES), scores, weights, COMMAND)) == list(PLOTS)
    without = [name for name in PLOTS if name != "agent_weights.png"]
    assert links(model_card(make_meta(CLASSES), scores, HISTORY, COMMAND)) == without
    assert links(model_card(make_meta(CLASSES), {}, HISTORY, COMMAND)) == [
        "curves.png",
        "batch.png",
    ]


def test_every_linked_plot_has_a_function_of_that_name() -> None:
    for name in PLOTS:
        name = name.removesuffix(".png")
        module = gallery if name in ("batch", "mistakes") else plots
        assert callable(getattr(module, name))


def test_card_admits_that_validation_images_were_scored() -> None:
    meta = replace(make_meta(CLASSES), metrics={"split": "val"})
    card = model_card(meta, make_scores(CLASSES), HISTORY, COMMAND)
    assert "## Results on the validation images" in card
    assert "flatter" in card
    assert "flatter" not in model_card(make_meta(CLASSES), make_scores(CLASSES), HISTORY, COMMAND)


def test_card_of_nothing_says_not_recorded() -> None:
    card = model_card(EMPTY, {}, [], "maam train")
    assert table(card, "Property")["Parameters"] == ["not recorded"]
    assert table(card, "Training")["Epochs trained"] == ["not recorded"]
    assert "None" not in card


FACTS = ("model", "classes", "parameters", "macs", "data", "data_source", "config", "environment")
FACTS += ("seconds", "images", "metrics")


@given(
    st.sets(st.sampled_from(FACTS)),
    st.sets(st.sampled_from(["size", "channels", "mean", "std"])),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_card_bears_any_missing_or_empty_fact(
    missing: set[str], parts: set[str], as_none: bool
) -> None:
    meta = replace(make_meta(CLASSES), **{key: getattr(EMPTY, key) for key in missing})
    preprocessing = {key: value for key, value in meta.preprocessing.items() if key not in parts}
    if as_none:
        preprocessing |= dict.fromkeys(parts)
    meta = replace(meta, preprocessing=preprocessing)
    card = model_card(meta, {"accuracy": 0.5}, [{"epoch": 1}], COMMAND)
    assert table(card, "Score")["Accuracy"] == ["50.00 %"]
    assert table(card, "Score")["Images"] == ["not recorded"]
    assert "None" not in card


@given(st.lists(st.text(max_size=20), min_size=2, max_size=4))
@settings(max_examples=60, deadline=None)
def test_no_class_name_breaks_a_table_or_becomes_html(classes: list[str]) -> None:
    card = model_card(make_meta(classes), make_scores(classes), HISTORY, COMMAND)
    lines = card.split("| Class |")[1].split("\n\n")[0].split("\n")[2:]
    assert len(lines) == len(classes)
    assert all(len(cells(line)) == 5 for line in lines)
    assert "<" not in card


def test_markdown_in_a_class_name_is_shown_as_it_is() -> None:
    classes = ["a|b", "*bold*", "<img>", "[x](y)"]
    card = model_card(make_meta(classes), make_scores(classes), HISTORY, COMMAND)
    assert r"a\|b, \*bold\*, &lt;img&gt;, \[x\](y)" in card


def test_very_many_classes_are_listed_in_part() -> None:
    classes = [f"breed {i}" for i in range(150)]
    card = model_card(make_meta(classes), {}, HISTORY, COMMAND)
    assert "breed 99 and 50 more, in `meta.json`" in card


def test_of_very_many_classes_the_worst_are_shown() -> None:
    classes = [f"breed {i}" for i in range(150)]
    labels = np.arange(150)
    logits = np.eye(150)
    logits[7] = logits[8]
    scores = score(logits[:140], labels[:140], classes)
    card = model_card(make_meta(classes), scores, HISTORY, COMMAND)
    rows = table(card, "Class")
    assert list(rows)[:2] == ["breed 7", "breed 8"]
    assert len(rows) == 20
    assert rows["breed 7"] == ["1", "0.00 %", "0.00 %", "0.00 %"]
    assert "The 20 classes with the lowest F1 (all 150 are in `meta.json`)" in card
    assert table(card, "Score")["Classes in the macro averages"] == ["140 of 150"]


def test_an_absent_class_has_no_scores_of_its_own() -> None:
    scores = score(np.eye(3)[[0, 1]], np.array([0, 1]), ["ant", "bee", "cat"])
    card = model_card(make_meta(["ant", "bee", "cat"]), scores, HISTORY, COMMAND)
    assert table(card, "Class")["cat"] == ["0", "-", "-", "-"]


def test_of_equal_epochs_the_one_with_the_lower_loss_is_the_best() -> None:
    rows = [{"epoch": i + 1, "val_accuracy": 0.5, "val_loss": x} for i, x in enumerate([2, 1, 1])]
    card = model_card(make_meta(CLASSES), {}, rows, COMMAND)
    assert table(card, "Training")["Best validation accuracy"] == ["50.00 % at epoch 2"]
    rows = [row | {"val_accuracy": None} for row in rows]
    card = model_card(make_meta(CLASSES), {}, rows, COMMAND)
    assert "the last epoch is kept" in table(card, "Training")["Best validation accuracy"][0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.2 s"), (59.7, "1 min 00 s"), (754, "12 min 34 s"), (90_000, "25 h 00 min")],
)
def test_durations(seconds: float, text: str) -> None:
    card = model_card(replace(make_meta(CLASSES), seconds=seconds), {}, HISTORY, COMMAND)
    assert table(card, "Training")["Time spent in training"] == [text]


def test_scores_table_leaves_out_top5_of_few_classes() -> None:
    assert "Top-5" not in scores_table(make_scores(CLASSES[:3]))
    assert "| Top-5 accuracy | 100.00 % |" in scores_table(make_scores(CLASSES))
    assert "| Top-5 accuracy | not recorded |" in scores_table({})


def test_history_reads_back_from_csv(tmp_path: Path) -> None:
    rows = [
        {"epoch": 1, "train_loss": 0.1 + 0.2, "val_loss": None, "agent_weights": [[0.5, 0.5]]},
        {"epoch": 2, "train_loss": 1e-9, "val_loss": 2.0, "agent_weights": [[0.25, 0.75], [1.0]]},
    ]
    RunFolder(tmp_path).write_history(rows)
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.csv", "metrics.jsonl"}
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows
    with (tmp_path / "metrics.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert list(first) == [
        "epoch",
        "train_loss",
        "val_loss",
        "agent_weight_1_1",
        "agent_weight_1_2",
        "agent_weight_2_1",
    ]
    assert float(first["train_loss"]) == 0.1 + 0.2  # every digit is kept
    assert first["val_loss"] == first["agent_weight_2_1"] == ""
    assert second["agent_weight_1_2"] == "0.75"
    assert second["agent_weight_2_1"] == "1.0"


def test_history_is_written_anew(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_history(HISTORY)
    folder.write_history(HISTORY[:1])
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines == ["epoch,train_loss,val_loss,val_accuracy", "1,2.5,,0.25"]
    folder.write_history([])
    assert (tmp_path / "metrics.csv").read_text() == ""


def test_history_that_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(MaamError, match=r"metrics\.jsonl"):
        RunFolder(tmp_path / "missing").write_history(HISTORY)
