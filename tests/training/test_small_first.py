"""Progressive resizing: which epochs see smaller images, and which trainings cannot."""

from __future__ import annotations

import importlib
import os
import time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from matrix_kills import state
from PIL import Image
from torch import nn

import maam
from maam.cli.app import run
from maam.core.config import TrainConfig
from maam.core.errors import MaamError
from maam.training import campaign
from maam.training.budget import Deadline
from maam.training.events import Note, Step
from maam.training.pace import Pace
from maam.training.small_first import small_epochs


class Killed(BaseException):
    """What a signal that can't be caught leaves is what lies on the disk."""


@pytest.fixture
def photos(tmp_path, rng):
    """Two classes of 12 images, 32x32."""
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def watched_steps(monkeypatch):
    """Height and width of the images of every step to come, in a framework."""

    def watch(framework):
        loop = importlib.import_module(f"maam.{framework}.loop")
        make, seen = loop.make_train_step, []

        def watched(*given):
            step = make(*given)

            def take(images, *rest):
                seen.append(tuple(images.shape[2:]))
                return step(images, *rest)

            return take

        monkeypatch.setattr(loop, "make_train_step", watched)
        return seen

    return watch


@pytest.mark.parametrize("framework", ["mindspore", "torch"])
@pytest.mark.parametrize(
    ("epochs", "until", "sides"),
    [(4, 0.75, [24, 24, 24, 32]), (3, 0.5, [24, 32, 32]), (1, 0.9, [32]), (2, 0, [32, 32])],
)
def test_first_epochs_see_smaller_images(framework, epochs, until, sides, photos, watched_steps):
    seen = watched_steps(framework)
    how = {"model": "maamnet-nano", "epochs": epochs, "framework": framework, "batch_size": 8}
    told = []
    result = maam.train(data=photos, small_until=until, cutmix=1.0, watch=told.append, **how)
    texts = [event.text for event in told if isinstance(event, Note)]
    small = sides.count(24)
    assert (f"the first {small} of {epochs} epochs see images of 24x24" in texts) == (small > 0)
    too_few = f"`small_until`: {epochs} epochs are too few for smaller images first"
    assert (too_few in texts) == (until > 0 and small == 0)
    steps = len(seen) // epochs
    assert steps > 1 and seen == [(side, side) for side in sides for _ in range(steps)]
    assert np.isfinite(result.history[-1]["train_loss"])


@pytest.mark.parametrize("framework", ["mindspore", "torch"])
@pytest.mark.parametrize("model", ["maam", "cnn", "mlp", "rnn"])
def test_a_network_for_one_size_is_refused(framework, model, photos, tmp_path):
    with pytest.raises(MaamError, match=f"`small_until`: {model}, .* takes no images of 24x24"):
        maam.train(data=photos, model=model, small_until=0.5, epochs=2, framework=framework)
    with pytest.raises(MaamError, match=f"`small_until`: {model}, "):
        maam.train(data=photos, model=model, small_until=0.5, minutes=1, framework=framework)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_what_cannot_be_small_is_refused(photos):
    with pytest.raises(MaamError, match="`small_until`: 8x8 pixels are few already"):
        maam.train(data="digits", model="resnet8", small_until=0.5)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("until", [{"epochs": 2}, {"minutes": 1}])
def test_a_teacher_for_one_size_is_refused(until, own, photos, tmp_path):
    maam.train(data=photos, model="mlp", epochs=1, out="teacher")
    maam.train(data=photos, model="mlp", epochs=1, out="smaller", image_size=28)
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), *head) if own else "resnet8"
    how = {"data": photos, "model": model, "image_size": 32, "small_until": 0.5, **until}
    with pytest.raises(MaamError, match=r"the teacher \(mlp\), .* takes no images of 24x24"):
        maam.train(**how, teacher="teacher", out="student")
    with pytest.raises(MaamError, match="smaller: it takes images of 28x28x3"):
        maam.train(**how, teacher="smaller", out="student")
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize("framework", ["mindspore", "torch"])
def test_a_teacher_answers_for_smaller_images(framework, photos, watched_steps):
    seen = watched_steps(framework)
    how = {"data": photos, "model": "resnet8", "framework": framework, "epochs": 2}
    run = str(maam.train(**how, seed=1).run)
    alone = maam.train(**how, small_until=0.5).history
    del seen[:]
    taught = maam.train(**how, small_until=0.5, teacher=run).history
    assert sorted(set(seen)) == [(24, 24), (32, 32)] and seen == sorted(seen)
    losses = np.array([[epoch["train_loss"] for epoch in each] for each in (alone, taught)])
    assert np.isfinite(losses).all() and (np.abs(losses[0] - losses[1]) > 1e-6).all()


@pytest.mark.parametrize("until", [0, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("seconds", [0.5, 1, 1.9, 4, 5, 9.99, 100])
def test_the_epochs_of_a_plan_fit_into_its_time(until, seconds, monkeypatch):
    monkeypatch.setattr(Pace, "seconds", lambda *given: 1e-3 if len(given) < 4 else 0.55e-3)
    monkeypatch.setattr(Pace, "closing", lambda *_: 0.0)
    monkeypatch.setattr("maam.training.pace.USED", 1.0)
    dataset = SimpleNamespace(train=range(1000), val=range(0), image_shape=(32, 32, 3))
    budget = SimpleNamespace(left=lambda: seconds, least=0.0)
    pace = Pace(cast(Any, dataset), cast(Any, None), cast(Any, budget), 1, set())
    config = TrainConfig(data="digits", model="resnet8", small_until=until)
    found = pace.epochs(config)

    def cost(epochs):
        small = small_epochs(config.model_copy(update={"epochs": epochs}))
        return epochs - small * 0.45

    assert cost(max(1, int(found))) <= max(1, seconds)
    assert cost(int(found) + 1) > seconds  # and no more would
    assert pace.images(config, 1) == pytest.approx(1000 * seconds - 16, abs=1)  # of a whole epoch


@pytest.mark.parametrize("framework", ["mindspore", "torch"])
def test_an_average_and_a_killed_training_are_exact(framework, photos, tmp_path):
    how = {"data": photos, "model": "resnet8", "framework": framework, "batch_size": 8}
    how |= {"epochs": 3, "small_until": 0.7, "ema": 0.9, "checkpoint_minutes": 0}
    whole = maam.train(**how, out=tmp_path / "whole")
    for epoch in (1, 2):  # a small one, the whole one
        where = {**how, "out": tmp_path / "cut"} if epoch == 1 else {"resume": tmp_path / "cut"}

        def cut(event, epoch=epoch):
            if isinstance(event, Step) and (event.epoch, event.step) == (epoch, 0):
                raise Killed

        with pytest.raises(Killed):
            maam.train(**where, watch=cut)
    again = maam.train(resume=tmp_path / "cut")
    (tensors, rows), (expected, expected_rows) = state(again.run), state(whole.run)
    assert rows == expected_rows and tensors.keys() == expected.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_early_stopping_waits_for_whole_images(photos, monkeypatch):
    monkeypatch.setattr("maam.training.run.loss_and_accuracy", lambda *_: (1.0, 0.5))
    told = []
    how = {"model": "resnet8", "framework": "torch", "epochs": 8, "small_until": 0.5}
    result = maam.train(data=photos, early_stopping=1, watch=told.append, **how)
    assert len(result.history) == 5  # four small ones and one more, which was not better
    texts = [event.text for event in told if isinstance(event, Note)]
    assert "the first 4 of 8 epochs see images of 24x24" in texts
    assert "no better epoch in 1: stopped early" in texts


def test_a_deadline_knows_that_whole_images_take_longer(photos, monkeypatch):
    asked, told = [], []

    def allows(_, times):
        asked.append(round(times, 3))
        return len(asked) < 4

    monkeypatch.setattr(Deadline, "allows_epoch", allows)
    how = {"model": "resnet8", "framework": "torch", "epochs": 6, "small_until": 0.5}
    result = maam.train(data=photos, minutes=1, watch=told.append, **how)
    assert asked == [1.0, 1.0, 1.0, 1.778] and len(result.history) == 3
    text = "no time for another epoch: stopped early, before images were whole"
    assert text in [event.text for event in told if isinstance(event, Note)]


def test_the_time_left_knows_that_whole_images_take_longer(photos, monkeypatch, capsys):
    clock = iter([0, 0, 90, 180, 340, 500])  # of the display's beginning, the plan, four epochs
    monkeypatch.setattr("maam.cli.display.time", SimpleNamespace(monotonic=lambda: next(clock)))
    how = ["--model", "resnet8", "--framework", "torch", "--epochs", "4", "--small-until", "0.5"]
    assert run(["train", "--data", str(photos), *how]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith(" left")]
    assert [line.split()[-2] for line in lines] == ["6:50", "5:20", "2:40", "0:00"]


def test_a_campaign_knows_that_whole_images_take_longer(photos, tmp_path, monkeypatch):
    recipe = tmp_path / "small.toml"
    options = f'data = "{photos}"\nmodel = "resnet8"\nepochs = 4\nsmall_until = 0.5\n'
    recipe.write_text(options)
    monkeypatch.setattr("maam.training.small_first.whole_to_small", lambda size: 1e9)
    (training,) = campaign.parse([f"{recipe}:0"], tmp_path / "runs")
    for _ in range(2):  # and when it is begun again
        code = campaign.run_training(training, {}, os.getppid(), time.time() + 600)
        assert code == campaign.OUT_OF_TIME
        assert len(training.folder.read_history()) == 2
