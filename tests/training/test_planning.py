"""``maam train FOLDER``: what is chosen, and why."""

from __future__ import annotations

import json
import shlex
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

import maam
from maam.cli.app import run
from maam.core import frameworks
from maam.core.errors import MaamError
from maam.core.frameworks import Backend
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors
from maam.data.files.tree import scan
from maam.models.weights import TINY_IMAGENET, WEIGHTS, sources
from maam.training import pipeline
from maam.training.budget import Budget
from maam.training.events import Choices, Plan
from maam.training.options import resolve
from maam.training.pace import CLOSING_SECONDS, SCORING, USED
from maam.training.planning import MODELS, choose_options, choose_size
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


class Machine:
    """Stands for a framework where so many seconds go by for a step and for each of its images."""

    def __init__(self, step: float = 0.0, **image: float) -> None:
        self.step, self.image = step, image
        self.timed = []

    def create_model(self, name, num_classes, in_channels, image_size):
        return name

    def time_step(self, net, config, num_classes, image_shape, steps=4):
        self.timed.append((net, config))
        return self.step + self.image.get(net.partition("-")[2] or net, 0.001) * config.batch_size


def choose(data, minutes: float | None = 10.0, machine=None, ago=0.0, **options):
    """The options chosen for some images, by name, and how many of them there are."""
    config = resolve({"data": str(data), "framework": "torch", "minutes": minutes, **options})
    size = choose_size(config, scan(data)) if data != "digits" else []
    config = config.model_copy(update={choice.option: choice.value for choice in size})
    dataset = load_data(config, lambda event: None)
    budget = Budget(minutes, time.monotonic() - ago)
    choices, closing = choose_options(config, dataset, cast(Backend, machine or Machine()), budget)
    assert closing >= CLOSING_SECONDS
    assert all(choice.reason for choice in choices)
    return {choice.option: choice.value for choice in [*size, *choices]}, dataset


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data") / "photos", {"red": 30, "green": 12}, 90)


def minutes_for(seconds: float) -> float:
    """A budget that leaves so many seconds for epochs."""
    return (CLOSING_SECONDS + seconds / USED) / 60


def test_the_size_follows_the_images(photos, tmp_path):
    assert choose(photos)[0]["image_size"] == 64
    icons = make_folder(tmp_path / "icons", {"red": 6, "green": 6}, 24)
    assert choose(icons)[0]["image_size"] == 32
    assert "image_size" not in choose(photos, image_size=48)[0]
    taught = choose(icons, teacher=str(WEIGHTS / "maamnet-tiny"))[0]
    assert taught["image_size"] == 32
    assert choose(photos, teacher="maamnet-tiny")[0]["image_size"] == 32


def test_from_random_weights_more_epochs_are_worth_their_time():
    epochs = [choose("digits", 1e4, pretrained=each)[0]["epochs"] for each in (True, False)]
    assert epochs[0] < 30 and epochs[1] == 60


def test_few_images_are_seen_in_small_batches_for_some_hundred_steps(photos):
    chosen, data = choose(photos)
    assert chosen["model"] == "maamnet-tiny" and chosen["pretrained"] is True
    assert chosen["normalize"] == "standard"
    assert chosen["epochs"] == 60
    assert chosen["epochs"] * len(data.train) / chosen["batch_size"] > 150
    assert chosen["class_weights"] == "auto"
    assert chosen["augment"] == "crop"  # never mirrored by itself


def test_little_time_takes_the_smaller_model(photos):
    _, data = choose(photos)
    images = len(data.train) + SCORING * (len(data.val) + 40 * 8)  # 40 batches settle norms
    seconds = images * 0.2 * 3.5  # of tiny, 3 epochs; of nano, 7
    chosen, _ = choose(photos, minutes_for(seconds + 3), Machine(tiny=0.2, nano=0.1))
    assert chosen["model"] == "maamnet-nano"
    assert chosen["epochs"] == 7
    more, _ = choose(photos, minutes_for(2 * seconds), Machine(tiny=0.2, nano=0.1))
    assert more["model"] == "maamnet-tiny"
    assert 6 <= more["epochs"] < 8
    assert "limit" not in more


@pytest.mark.parametrize("step", [0.0, 0.4])
def test_less_time_than_an_epoch_takes_trains_on_fewer_images(step):
    machine = Machine(step, tiny=0.1, nano=0.1)
    chosen, data = choose("digits", minutes_for(48), machine)
    assert chosen["epochs"] == 1
    count = chosen["limit"]
    assert 10 < count < len(data.train)
    others = SCORING * (len(data.val) + 40 * chosen["batch_size"])  # validated; settling norms
    assert (count + others) * (0.1 + step / chosen["batch_size"]) <= 48
    assert chosen["batch_size"] == 8  # by what is left of the images
    assert chosen["learning_rate"] == pytest.approx(0.002 * 8**-0.5, abs=1e-6)


def test_with_no_time_at_all_every_class_is_seen_once():
    chosen, data = choose("digits", minutes=0.1, machine=Machine(tiny=10, nano=10))
    assert (chosen["epochs"], chosen["limit"]) == (1, len(data.classes))
    assert "limit" not in choose("digits", minutes=0.1, limit=100)[0]


def test_however_long_it_took_to_begin_steps_have_a_tenth_of_the_time(photos):
    machine = Machine(tiny=0.01, nano=0.01)  # 12 seconds for 1,200 images
    chosen, data = choose(photos, 2, machine, ago=130)
    assert "limit" not in chosen and chosen["epochs"] > 1
    seen = chosen["epochs"] * (len(data.train) + SCORING * len(data.val))
    assert 3 < 0.01 * (seen + SCORING * 40 * chosen["batch_size"]) <= 12


def test_given_epochs_without_minutes_have_no_deadline(photos):
    chosen, _ = choose(photos, None, Machine(tiny=1e6), epochs=100)
    assert chosen["model"] == "maamnet-tiny"
    assert not {"epochs", "limit"} & chosen.keys()


def test_given_epochs_that_fit_keep_the_larger_model(photos):
    _, data = choose(photos)
    machine = Machine(tiny=0.2, nano=0.02)
    minutes = minutes_for(0.2 * 3 * (len(data.train) + SCORING * (len(data.val) + 40 * 8)))
    assert choose(photos, minutes, machine)[0]["model"] == "maamnet-nano"
    assert choose(photos, minutes, machine, epochs=2)[0]["model"] == "maamnet-tiny"
    assert choose(photos, minutes, machine, epochs=9)[0]["model"] == "maamnet-nano"


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
    machine = Machine()
    chosen, _ = choose(photos, machine=machine, **given)
    assert not given.keys() & chosen.keys()
    assert "pretrained" not in chosen  # no weights of it come with the package
    ((model, timed),) = machine.timed
    assert (model, timed.optimizer, timed.batch_size) == ("resnet8", "sgd", 16)


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ({"batch_size": 64, "limit": 16}, 0.002 * 0.25**0.5),  # no more images than there are
        ({"batch_size": 8}, 0.002 * 8**-0.5),
        ({"batch_size": 8, "optimizer": "sgd"}, 0.02 / 8),
        ({"batch_size": 8, "optimizer": "adamw"}, 0.002 * 8**-0.5),
        ({"batch_size": 8, "pretrained": False}, 0.003 * 8**-0.5),
    ],
)
def test_the_learning_rate_goes_by_what_is_given(photos, given, rate):
    assert choose(photos, **given)[0]["learning_rate"] == pytest.approx(rate, abs=1e-6)


def test_a_teacher_takes_time(photos):
    alone, taught = Machine(), Machine(tiny=0.001, small=1.0)
    seen = choose(photos, 2, alone)[0]["epochs"]
    assert choose(photos, 2, taught, teacher="maamnet-small")[0]["epochs"] < seen / 4
    assert {model for model, _ in taught.timed} >= {"maamnet-small"}


@pytest.mark.parametrize("framework", ["torch", "mindspore"])
def test_a_step_is_timed_with_its_averaging(framework):
    backend = frameworks.use(framework)
    config = resolve({"framework": framework, "ema": 0.9, "optimizer": "sgd", "batch_size": 4})
    net = backend.create_model("mlp", 3, 1, (8, 8))
    before = backend.get_weights(net)
    assert 0 < backend.time_step(net, config, 3, (1, 8, 8)) < 60
    after = backend.get_weights(net)
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before)


def test_given_weights_are_begun_with(photos):
    having = next(model for model in MODELS if TINY_IMAGENET in sources(model))
    chosen, _ = choose(photos, weights=TINY_IMAGENET)
    assert chosen["model"] == having
    chosen, _ = choose(photos, weights="maamnet-small")  # as a run of one's own: its model
    assert chosen["model"] == "maamnet-small" and "pretrained" not in chosen
    assert resolve({"data": "digits", "weights": "maamnet-small"}).model == "maamnet-small"
    options = {"model": "maamnet-nano", "weights": TINY_IMAGENET}
    assert resolve(options).pretrained is True
    recipe = Path("recipe.toml")
    recipe.write_text(f'weights = "{TINY_IMAGENET}"\n')
    assert resolve({"model": "maamnet-nano"}, recipe).pretrained is True
    recipe.write_text('weights = "cifar10"\npretrained = false\n')  # as a run's own options
    assert resolve({}, recipe).pretrained is False
    assert resolve({"weights": TINY_IMAGENET}, recipe).pretrained is True
    with pytest.raises(MaamError, match=r"`weights=tiny-imagenet`: .* `pretrained=False`"):
        maam.train(data=str(photos), weights=TINY_IMAGENET, pretrained=False)
    with pytest.raises(MaamError, match="no such weights of 'resnet8'"):
        maam.train(data="nowhere", model="resnet8", weights=TINY_IMAGENET, framework="torch")


def test_weights_are_not_begun_with_where_their_normalisation_is_not_wanted(
    photos, tmp_path, capsys
):
    options = ["--framework", "torch", "--epochs", "1", "--image-size", "32"]
    assert run(["train", str(photos), *options, "--normalize", "unit", "--out", "run"]) == 0
    output = capsys.readouterr().out
    assert "--no-pretrained" in output and "--normalize unit: weights have" in output
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert (config["pretrained"], config["normalize"]) == (False, "unit")
    assert run(["train", "--recipe", "run/config.toml", "--out", "again"]) == 0


@pytest.mark.parametrize("planned", [{}, {"model": "cnn"}])
def test_a_bad_teacher_or_a_taken_folder_is_refused_before_the_images_are_looked_at(planned):
    options: dict[str, Any] = {"data": "nowhere", "framework": "torch", **planned}
    taken = Path("taken")
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    refused: list[tuple[dict[str, Any], str]] = [
        ({"teacher": "no-teacher"}, "no-teacher is not a run folder"),
        ({"out": taken}, "`out` taken is not empty"),
        ({"out": taken / "notes.txt"}, "`out` taken/notes.txt is a file"),
    ]
    for given, message in refused:
        with pytest.raises(MaamError, match=message):
            maam.train(**options, **given)
    with pytest.raises(MaamError, match="nowhere"):
        maam.train(**options, out="free")
    assert not Path("free").exists()


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
    assert chosen.minutes is None  # the epochs are given
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
    flags = ["--framework", "torch", "--epochs", "1", "--image-size", "32", "--minutes", "10"]
    assert run(["train", str(photos), *flags]) == 0
    output = capsys.readouterr().out
    for text in ("for 10 minutes", "--model maamnet-tiny", "--augment crop", "maam train"):
        assert text in output
    assert "  --pretrained   " in output  # as one types it
    assert json.loads(Path("runs/photos-maamnet-tiny/meta.json").read_text())["images"]["train"]


def test_it_stops_when_its_time_is_up(photos, tmp_path):
    seen = []
    result = maam.train(
        data=str(photos),
        framework="torch",
        minutes=0.3,  # less than what scoring is given
        epochs=100_000,
        image_size=32,
        out=tmp_path / "run",
        watch=seen.append,
    )
    assert 1 <= len(result.history) < 100  # steps have a tenth of the time, 1.8 seconds
    assert any("no time for another epoch" in getattr(event, "text", "") for event in seen)
    assert result.scores["images"]


@pytest.mark.slow
def test_a_planned_training_ends_within_its_minutes(photos, tmp_path):
    began = time.monotonic()
    result = maam.train(
        data=str(photos),
        framework="torch",
        minutes=1,
        epochs=100_000,
        image_size=32,
        out=tmp_path / "run",
    )
    seconds = time.monotonic() - began
    assert 30 < seconds < 60
    assert len(result.history) > 1


@pytest.mark.parametrize("epochs", [5, 40])
def test_batches_that_settle_norms_take_time(photos, epochs):
    """After each of the first 100 steps' epochs; then no longer."""
    _, data = choose(photos)
    young = 99 // -(-len(data.train) // 8)
    images = epochs * (len(data.train) + SCORING * len(data.val))
    images += SCORING * 40 * 8 * min(epochs, young)
    minutes = minutes_for(0.1 * images + 3)  # time goes by while a plan is made
    chosen, _ = choose(photos, minutes, Machine(tiny=0.1), model="maamnet-tiny")
    assert (chosen["epochs"], chosen["batch_size"]) == (epochs, 8)


def test_given_epochs_with_smaller_images_first(photos):
    chosen, _ = choose(photos, None, epochs=10, small_until=0.5)
    assert chosen["model"] == "maamnet-tiny" and "epochs" not in chosen


def test_what_is_planned_late_is_trained_to_its_end(tmp_path, monkeypatch):
    late = SimpleNamespace(monotonic=lambda: time.monotonic() - 295)
    monkeypatch.setattr(pipeline, "time", late)
    how = {"data": "digits", "model": "mlp", "framework": "torch", "limit": 100}
    result = maam.train(**how, minutes=5, out=tmp_path / "run")
    planned = RunFolder(result.run).read_meta().config["epochs"]
    assert len(result.history) == planned > 1
