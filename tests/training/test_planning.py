"""``maam train FOLDER``: what is chosen, and why."""

from __future__ import annotations

import json
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import maam
from maam.cli.app import run
from maam.core import frameworks
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors
from maam.data.files.tree import scan
from maam.training.events import Choices, Plan
from maam.training.options import resolve
from maam.training.planning import Budget, choose_options, choose_size
from maam.training.setup import load_data


def make_folder(path: Path, counts: dict[str, int], side: int) -> Path:
    rng = np.random.default_rng(0)
    for number, (name, count) in enumerate(counts.items()):
        (path / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 100, (side, side + 10, 3)).astype(np.uint8)
            pixels[:, :, number % 3] += 100
            Image.fromarray(pixels).save(path / name / f"{index}.png")
    return path


def choose(folder, minutes=10.0, **options):
    """The options chosen for a folder, by name."""
    config = resolve({"data": str(folder), "framework": "torch", "minutes": minutes, **options})
    size = choose_size(scan(folder)) if config.image_size is None else None
    if size:
        config = config.model_copy(update={"image_size": size.value})
    dataset = load_data(config, lambda event: None)
    choices, closing = choose_options(config, dataset, frameworks.use("torch"), Budget(minutes))
    assert closing > 0
    assert all(choice.reason for choice in choices)
    return {choice.option: choice.value for choice in [*([size] if size else []), *choices]}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data") / "photos", {"red": 30, "green": 12}, 90)


def test_the_size_follows_the_images(photos, tmp_path):
    assert choose(photos)["image_size"] == 64
    icons = make_folder(tmp_path / "icons", {"red": 6, "green": 6}, 24)
    assert choose(icons)["image_size"] == 32
    assert "image_size" not in choose(photos, image_size=48)


def test_few_images_are_seen_in_small_batches_for_some_hundred_steps(photos):
    chosen = choose(photos)
    assert chosen["model"] == "maamnet-tiny" and chosen["pretrained"] is True
    assert chosen["normalize"] == "standard"
    images = 30  # about: without those held out
    assert chosen["epochs"] * images / chosen["batch_size"] > 150
    assert chosen["class_weights"] == "auto"
    assert chosen["augment"] == "crop"  # never mirrored by itself


def test_little_time_takes_the_smaller_model_and_fewer_images(photos):
    chosen = choose(photos, minutes=0.42)
    assert chosen["model"] == "maamnet-nano"
    assert chosen["epochs"] < 60


def test_what_is_given_stays(photos):
    given = {
        "model": "resnet8",
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 0.5,
        "optimizer": "sgd",
        "augment": "trivial",
        "class_weights": "none",
    }
    chosen = choose(photos, **given)
    assert not given.keys() & chosen.keys()
    assert "pretrained" not in chosen  # no weights of it come with the package


def test_a_model_that_is_named_is_not_planned_unless_a_time_is(photos):
    config = resolve({"data": str(photos), "model": "cnn", "framework": "torch"})
    assert (config.epochs, config.batch_size, config.optimizer) == (15, 64, "adam")
    assert resolve({"data": "digits"}).model == "maam"  # the paper's, of a named data set


def test_the_plan_is_shown_kept_and_repeated_by_its_command(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []
    options = {"framework": "torch", "epochs": 1, "image_size": 32}
    result = maam.train(data=str(photos), out=tmp_path / "run", watch=seen.append, **options)
    chosen = next(event for event in seen if isinstance(event, Choices))
    assert seen.index(chosen) < seen.index(next(e for e in seen if isinstance(e, Plan)))
    assert chosen.minutes == 10
    recipe = tomllib.loads((result.run / "config.toml").read_text())
    for choice in chosen.choices:
        assert recipe[choice.option] == choice.value
    assert "minutes" not in recipe
    words = shlex.split(chosen.command)
    assert words[:2] == ["maam", "train"]
    assert run([*words[1:], "--out", "again"]) == 0
    output = capsys.readouterr().out
    assert "plan " not in output  # nothing was left to choose
    first, again = (RunFolder(path).read_meta() for path in (result.run, tmp_path / "again"))
    assert first.config == again.config
    folders = map(RunFolder, (result.run, Path("again")))
    before, after = (load_tensors(folder.best)[0] for folder in folders)
    assert all((before[name] == after[name]).all() for name in before)


def test_the_command_line_tells_every_choice(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--framework", "torch", "--epochs", "1", "--image-size", "32"]
    assert run(["train", str(photos), *flags]) == 0
    output = capsys.readouterr().out
    for text in ("for 10 minutes", "--model maamnet-tiny", "--augment crop", "maam train"):
        assert text in output
    assert json.loads(Path("runs/photos-maamnet-tiny/meta.json").read_text())["images"]["train"]


def test_it_stops_when_its_time_is_up(photos, tmp_path):
    seen = []
    result = maam.train(
        data=str(photos),
        framework="torch",
        minutes=0.45,  # little more than what scoring is given
        epochs=100_000,
        image_size=32,
        out=tmp_path / "run",
        watch=seen.append,
    )
    assert len(result.history) < 100_000
    assert any("no time for another epoch" in getattr(event, "text", "") for event in seen)
    assert result.scores["images"]
