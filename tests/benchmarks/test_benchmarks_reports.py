"""The generated pages are those of the results, and figures of unlike runs are not mixed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cheap_epochs
import curves
import design
import finetune
import folder_minutes
import microcontroller
import numpy as np
import peers
import photo_sizes
import prediction_speed
import pytest
import runtime_speed
import search
import ship
import two_cores

from maam import MaamError
from maam.core.config import TrainConfig
from maam.core.environment import PARSER, prepare_mindspore
from maam.core.run_meta import RunMeta
from maam.models.weights import shipped

ROOT = Path(__file__).parents[2]
RUN = {
    "model": "cnn",
    "classes": ["cat", "dog"],
    "preprocessing": {"size": [8, 8], "channels": 1, "mean": [0.0], "std": [1.0]},
    "data": "cifar10",
    "data_source": "images",
    "data_digests": {"test": "a"},
    "images": {"train": 8, "val": 0, "test": 8},
    "metrics": {"accuracy": 0.5},
}


@pytest.mark.parametrize(
    ("name", "written", "make"),
    [
        ("cheap-epochs", "cheap_epochs", cheap_epochs.page),
        ("comparison", "peers", peers.page),
        ("design-notes", "design", design.notes),
        ("fine-tuning", "finetune", finetune.page),
        ("folder-minutes", "folder_minutes", folder_minutes.page),
        ("photo-sizes", "photo_sizes", photo_sizes.page),
        ("microcontroller", "microcontroller", microcontroller.page),
        ("search", "search", search.page),
        ("prediction-speed", "prediction_speed", prediction_speed.page),
        ("runtimes", "runtimes", runtime_speed.page),
        ("two-core-leaderboard", "two_cores", two_cores.page),
    ],
)
def test_pages_are_those_of_the_results(name, written, make):
    results = json.loads((ROOT / "results" / f"{written}.json").read_text())
    assert (ROOT / "docs" / f"{name}.md").read_text() == make(results)


def test_nano_in_int8_fits_a_small_microcontroller():
    rows = json.loads((ROOT / "results" / "microcontroller.json").read_text())["rows"]
    nano = [row for row in rows if (row["model"], row["precision"]) == ("maamnet-nano", "int8")]
    assert {row["processor"] for row in nano} == set(microcontroller.BOARDS)
    for row in nano:
        assert row["ram"] <= 64 * 1024
        assert row["flash"] <= 128 * 1024


def test_curves_are_those_of_the_records():
    records = curves.read(ROOT / "results" / "campaign")
    assert (ROOT / "docs" / "curves.md").read_text() == curves.page(records)


def test_kept_records_are_those_of_the_results():
    rows = json.loads((ROOT / "results" / "peers.json").read_text())["rows"]
    accuracies = {row["recipe"]: row["accuracies"] for row in rows}
    records = sorted((ROOT / "results" / "campaign").glob("*/meta.json"))
    assert records
    for record in records:
        recipe, _, seed = record.parent.name.rpartition("-seed-")
        accuracy = json.loads(record.read_text())["metrics"]["accuracy"]
        assert round(100 * accuracy, 2) == accuracies[recipe][seed]


def test_recipes_and_cards_have_the_commands_of_all_that_they_rest_on():
    recipes = sorted((ROOT / "recipes").glob("*.toml"))
    texts = [(recipe, recipe.read_text()) for recipe in recipes]
    for card in ship.WEIGHTS.glob("*/README.md"):
        text = card.read_text()
        if found := re.search(r"Recipe: `recipes/([\w.-]+\.toml)`", text):
            texts.append((ROOT / "recipes" / found[1], text))
    assert len(texts) == len(recipes) + len(shipped())
    for recipe, text in texts:
        every = re.findall(r"maam train --recipe recipes/([\w.-]+)\.toml", text)
        assert every == [*ship.rests(recipe), recipe.stem]


TEACHER = {"pretrained": False, "data_digests": RUN["data_digests"]}


def write(folder: Path, seed: int, facts: dict[str, Any] | None = None, **options: object) -> Path:
    run = folder / f"cnn-seed-{seed}"
    run.mkdir(parents=True)
    config = TrainConfig(**{"data": "cifar10", "model": "cnn", "seed": seed, **options}).model_dump(
        mode="json"
    )
    meta = {"format": 1, **RUN, "config": config, **(facts or {})}
    (run / "meta.json").write_text(json.dumps(meta))
    return run


def test_runs_that_differ_are_no_seeds_of_each_other(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "cnn.toml").write_text('data = "cifar10"\nmodel = "cnn"\nepochs = 7\n')
    monkeypatch.setattr(peers, "ROOT", tmp_path)
    write(tmp_path / "a", 0)
    write(tmp_path / "a", 1, epochs=6)
    with pytest.raises(MaamError, match="cnn-seed-1 was trained with other options"):
        peers.collect([tmp_path / "a"], [])
    write(tmp_path / "b", 0)
    write(tmp_path / "c", 0)
    with pytest.raises(MaamError, match="cnn-seed-0: its seed is there twice"):
        peers.collect([tmp_path / "b", tmp_path / "c"], [])
    with pytest.raises(MaamError, match="cnn-seed-0 was not trained by"):
        peers.collect([tmp_path / "b"], [])


def test_networks_alike_but_for_their_weights_are_timed_once(tmp_path):
    prepare_mindspore()  # which other tests of this process may want yet
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    texts = []
    for width, weight in ((3, 1), (3, 2), (4, 1)):
        tensor = numpy_helper.from_array(np.full((1, width), weight, np.float32), "weight")
        image, out = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width])
            for name in ("image", "out")
        )
        node = helper.make_node("Mul", ["image", "weight"], ["out"])
        graph = helper.make_graph([node], "net", [image], [out], [tensor])
        onnx.save(helper.make_model(graph), tmp_path / "net.onnx")
        texts.append(design.without_weights(tmp_path / "net.onnx"))
    assert texts[0] == texts[1] != texts[2]


def test_curves_need_the_network_of_the_goal(tmp_path):
    with pytest.raises(MaamError, match="has no record of maamnet-base"):
        curves.read(tmp_path)


@pytest.mark.parametrize(
    ("facts", "options", "complaint"),
    [
        ({"metrics": {"split": "val"}}, {}, "has no test scores"),
        ({}, {"epochs": 7}, "was not trained by"),
        ({}, {"pretrained": True}, "was not trained by"),
        ({"data": "digits"}, {}, "was trained on digits"),
        ({"teacher": {**TEACHER, "pretrained": True}}, {}, "rests on other images or weights"),
        ({"teacher": {**TEACHER, "data_digests": {}}}, {}, "rests on other images or weights"),
        (
            {"teacher": {**TEACHER, "teacher": {**TEACHER, "pretrained": True}}},
            {},
            "rests on other images or weights",
        ),
    ],
)
def test_what_rests_on_other_data_is_not_shipped(facts, options, complaint, tmp_path):
    recipe = tmp_path / "cnn.toml"
    recipe.write_text('data = "cifar10"\nmodel = "cnn"\nframework = "torch"\n')
    scored = {"metrics": {"split": "test"}, **facts}
    run = write(tmp_path, 0, scored, framework="torch", **options)
    with pytest.raises(MaamError, match=complaint):
        ship.ship(recipe, [run], None, "torch")


def test_seeds_that_differ_are_not_shipped_together(tmp_path):
    recipe = tmp_path / "cnn.toml"
    recipe.write_text('data = "cifar10"\nmodel = "cnn"\nframework = "torch"\n')
    scored = {"metrics": {"split": "test"}}
    first = write(tmp_path, 0, scored, framework="torch")
    second = write(tmp_path, 1, scored, framework="torch", epochs=7)
    with pytest.raises(MaamError, match="cnn-seed-1 was trained with other options"):
        ship.ship(recipe, [first, second], None, "torch")
    with pytest.raises(MaamError, match="cnn-seed-0: its seed is there twice"):
        ship.ship(recipe, [first, first], None, "torch")


def test_the_leaderboard_has_rows_of_a_kind(tmp_path, monkeypatch):
    recipe = tmp_path / "r.toml"
    alike = 'minutes = 1\ndata = "cifar10"\nval_fraction = 0.0\n'
    for text, words in (
        ("epochs = 1\n", "no `minutes`: add them"),
        ("minutes = 1\n", 'no `data = "cifar10"`: the rows have it'),
        (alike, "no `pretrained = false`: the rows have it"),
        (f'{alike}pretrained = false\nteacher = "maamnet-tiny"\n', "has a `teacher`"),
        (f"{alike}pretrained = false\n", "it is not in"),
    ):
        recipe.write_text(text)
        with pytest.raises(MaamError, match=words):
            two_cores.measure(recipe)
    monkeypatch.setattr(two_cores, "RECIPES", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with pytest.raises(MaamError, match="2 cores are needed, and this process may use 1"):
        two_cores.measure(recipe)


@pytest.mark.slow
@pytest.mark.parametrize("script", ["ship", "finetune", "design"])
def test_scripts_leave_mindspore_able_to_start(script):
    """MindSpore 2.7 can't where something has imported ``onnx`` before it."""
    code = f"import {script}, maam.mindspore, onnx"
    folders = (ROOT / "benchmarks", ROOT / "experiments", ROOT / "src")
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    variables.pop(PARSER, None)
    subprocess.run([sys.executable, "-c", code], env=variables, check=True)


def test_the_outlook_follows_the_record():
    shape = {"size": [32, 32], "channels": 3, "mean": [0.0] * 3, "std": [1.0] * 3}
    meta = RunMeta("maamnet-base", ("cat", "dog"), shape, metrics={"accuracy": 0.9})
    record = curves.Record("maamnet-base-seed-0", meta, [0.5, 1.0], [80.0, 95.0])
    text = " ".join(curves.outlook(record))
    assert "After 2 epochs it is 90.00 %, 4.00 points less" in text
    assert "100 hours" in text
    record = record._replace(meta=replace(meta, metrics={"accuracy": 0.95}))
    assert "has reached our goal" in curves.outlook(record)[0]
