"""Progressive resizing: which epochs see smaller images, and which trainings cannot."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import maam
from maam.core.config import TrainConfig
from maam.core.errors import MaamError
from maam.training.pace import Pace


@pytest.fixture
def photos(tmp_path, rng):
    """Two classes of 12 images, 32x32."""
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("framework", ["mindspore", "torch"])
@pytest.mark.parametrize(
    ("epochs", "until", "sides"),
    [(4, 0.75, [24, 24, 24, 32]), (3, 0.5, [24, 32, 32]), (1, 0.9, [32]), (2, 0, [32, 32])],
)
def test_first_epochs_see_smaller_images(framework, epochs, until, sides, photos, monkeypatch):
    loop = importlib.import_module(f"maam.{framework}.loop")
    batches, seen = loop.train_batches, {}

    def watched(*given, **named):
        _, epoch = next(each for each in given if isinstance(each, tuple) and len(each) == 2)
        for images, labels in batches(*given, **named):
            seen.setdefault(epoch, set()).add(tuple(images.shape[2:]))
            yield images, labels

    monkeypatch.setattr(loop, "train_batches", watched)
    how = {"model": "resnet8", "epochs": epochs, "framework": framework, "batch_size": 8}
    result = maam.train(data=photos, small_until=until, cutmix=1.0, **how)
    assert seen == {epoch: {(side, side)} for epoch, side in enumerate(sides)}
    assert np.isfinite(result.history[-1]["train_loss"])


@pytest.mark.parametrize("framework", ["mindspore", "torch"])
@pytest.mark.parametrize("model", ["maam", "cnn", "mlp", "rnn"])
def test_a_network_for_one_size_is_refused(framework, model, photos, tmp_path):
    with pytest.raises(MaamError, match=f"`small_until`: {model} takes no images of 24x24"):
        maam.train(data=photos, model=model, small_until=0.5, epochs=2, framework=framework)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_what_cannot_be_small_is_refused(photos):
    with pytest.raises(MaamError, match="`small_until`: 8x8 pixels are few already"):
        maam.train(data="digits", model="resnet8", small_until=0.5)
    run = maam.train(data=photos, model="resnet8", epochs=1, out="teacher").run
    with pytest.raises(MaamError, match="`small_until` does not go with a `teacher`"):
        maam.train(data=photos, model="resnet8", small_until=0.5, epochs=2, teacher=str(run))


def test_a_time_allows_more_smaller_epochs(monkeypatch):
    monkeypatch.setattr(Pace, "seconds", lambda *_: 1e-3)
    monkeypatch.setattr(Pace, "closing", lambda *_: 0.0)
    dataset = SimpleNamespace(train=range(1000), val=range(0))
    pace = Pace(dataset, None, SimpleNamespace(left=lambda: 100.0), 32, set())  # type: ignore[arg-type]
    config = TrainConfig(data="digits", model="resnet8")
    whole, smaller = (
        pace.epochs(config.model_copy(update={"small_until": until})) for until in (0, 0.75)
    )
    assert smaller / whole == pytest.approx(1 / (1 - 0.75 * (1 - 0.75**2)), rel=0.02)
