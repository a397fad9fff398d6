"""Few images: short trainings, incomplete batches, rare classes, epochs that are equally good."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import maam
from maam.core.run_folder import RunFolder
from maam.training.checkpoint import TrainingState
from maam.training.events import Note, Plan, Step
from maam.training.run import repeated

FRAMEWORKS = [pytest.param("mindspore", marks=pytest.mark.slow), "torch"]


def make_images(folder: Path, counts: dict[str, int]) -> Path:
    """Class folders of noisy images, each class of a shade of its own."""
    rng = np.random.default_rng(0)
    for number, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(60 * number, 60 * number + 60, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_norms_follow_a_training_of_a_few_steps(framework, tmp_path):
    # 24 steps: with the statistics that the steps alone leave, it scores below 30 %.
    result = maam.train(
        data="digits",
        model="maamnet-nano",
        framework=framework,
        optimizer="sgd",
        learning_rate=0.1,
        schedule="constant",
        epochs=4,
        batch_size=256,
        out=tmp_path / "run",
    )
    assert result.history[-1]["train_accuracy"] > 0.8
    assert result.history[-1]["val_accuracy"] > 0.8
    assert result.scores["accuracy"] > 0.8


@pytest.mark.parametrize(("number", "begun"), [(0, 0), (2, 1), (3, 1), (4, 2), (8, 3)])
def test_batches_for_the_norms_come_anew_and_none_is_kept(number, begun):
    starts, living = [], weakref.WeakSet()

    def batches():
        starts.append(True)
        for value in range(3):
            inputs = torch.full((2,), value)
            living.add(inputs)
            yield inputs, None

    values, most = [], 0
    for inputs in repeated(batches, number):
        values.append(int(inputs[0]))
        most = max(most, len(living))
    assert values == [each % 3 for each in range(number)]
    assert len(starts) == begun and most <= 2


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_image_is_trained_on_in_every_epoch(framework, tmp_path):
    data = make_images(tmp_path / "images", {"dark": 13, "light": 12})
    seen = []
    maam.train(
        data=str(data),
        model="mlp",
        framework=framework,
        image_size=16,
        epochs=1,
        batch_size=8,
        out=tmp_path / "run",
        watch=seen.append,
    )
    (plan,) = (event for event in seen if isinstance(event, Plan))
    assert plan.steps == -(-plan.meta.images["train"] // 8)
    assert sum(isinstance(event, Step) for event in seen) >= 1


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_class_weights_help_the_rare_class(framework, tmp_path):
    """Classes that overlap: without weights the common one is always answered."""
    rng = np.random.default_rng(1)
    for name, count, low in (("common", 180, 0), ("rare", 20, 60)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(count):
            shade = rng.integers(low, low + 120)  # half of the shades are of both classes
            image = Image.fromarray(np.full((8, 8, 3), shade, np.uint8))
            image.save(tmp_path / "images" / name / f"{index}.png")
    recall = {}
    for weights in ("none", "auto"):
        scores = maam.train(
            data=str(tmp_path / "images"),
            model="mlp",
            framework=framework,
            image_size=8,
            class_weights=weights,
            augment="none",
            epochs=4,
            out=tmp_path / weights,
        ).scores
        recall[weights] = {row["class"]: row["recall"] for row in scores["per_class"]}
    assert recall["auto"]["rare"] > recall["none"]["rare"]


def test_of_equally_accurate_epochs_the_one_with_the_lower_loss_is_kept(tmp_path):
    folder = RunFolder(tmp_path)
    state = TrainingState(dict, lambda tensors, source: None, {})
    rows = [(0.8, 0.9), (0.9, 0.5), (0.9, 0.4), (0.9, 0.6), (0.7, 0.1)]
    best = []
    for epoch, (accuracy, loss) in enumerate(rows, 1):
        row = {"epoch": epoch, "val_accuracy": accuracy, "val_loss": loss}
        state.end_epoch(folder, row, {}, write=False)
        best.append(state.best_epoch)
    assert best == [1, 2, 3, 3, 3]


def test_a_training_that_guesses_is_doubted(tmp_path):
    """Two classes of the same noise: nothing can be learnt, and it says so."""
    data = make_images(tmp_path / "images", {"one": 30, "other": 30})
    rng = np.random.default_rng(2)
    for path in sorted(data.rglob("*.png")):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(path)
    seen = []
    options = {"data": str(data), "model": "mlp", "framework": "torch", "image_size": 16}
    maam.train(**options, augment="none", epochs=30, out=tmp_path / "run", watch=seen.append)
    told = " ".join(event.text for event in seen if isinstance(event, Note))
    assert "naming the most common class always" in told
    assert "the training images are learnt" in told
    assert "are few to score with" in told


def test_a_good_training_is_not_doubted(tmp_path):
    seen = []
    options = {"data": "digits", "model": "mlp", "framework": "torch", "epochs": 6}
    maam.train(**options, out=tmp_path / "run", watch=seen.append)
    assert not [event for event in seen if isinstance(event, Note)]
