"""What a person should doubt about a training."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import maam
from maam.core.metrics import score
from maam.training.diagnosis import doubts
from maam.training.events import Note


def said(right: int, wrong: int, train: float = 0.6, val: float | None = 0.6, copies=0) -> str:
    """The doubts about answers for two classes, of which the first has three in four images."""
    count = right + wrong
    labels = (np.arange(count) % 4 == 3).astype(int)
    answers = np.where(np.arange(count) < right, labels, 1 - labels)
    history = [{"train_accuracy": train, "val_accuracy": val, "val_loss": 1.0, "epoch": 1}]
    scores = score(4 * np.eye(2)[answers], labels, ("most", "few"))
    return "\n".join(doubts(scores, history, copies))


def test_a_good_training_is_not_doubted():
    assert said(950, 50) == ""
    assert said(950, 50, 1.0, None) == ""


@pytest.mark.parametrize(("right", "images"), [(700, 1000), (770, 1000), (18, 20), (1, 1000)])
def test_an_accuracy_that_guessing_may_reach(right, images):
    told = said(right, images - right)
    share = f"the accuracy ({right / images:.1%}) may be no better than that of naming the most"
    assert told.startswith(f"{share} common class always (75.0%)")


def test_what_guessing_does_not_reach():
    assert "no better" not in said(790, 210)
    assert "no better" not in said(20, 0)


def test_training_images_learnt_and_validation_images_not():
    assert "the training images are learnt (95%), the validation images are not (70%)" in said(
        950, 50, 0.95, 0.70
    )
    assert said(950, 50, 0.95, 0.71) == said(950, 50, 0.89, 0.60) == ""


def test_few_images_to_score_with():
    assert "40 images are few to score with" in said(36, 4)
    assert "lies between 77% and 96% (95 % interval)" in said(36, 4)
    assert "are few" not in said(360, 40)


def test_scored_images_that_were_trained_on():
    assert said(950, 50, copies=12).startswith("12 of the 1,000 scored images are copies, pixel")


def test_copies_across_the_splits_are_told_after_a_training(tmp_path):
    """Every picture lies there twice, so most that are scored were trained on too."""
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
            for copy in "ab":
                Image.fromarray(pixels).save(tmp_path / "pets" / label / f"{number}{copy}.png")
    seen = []
    options = {"data": str(tmp_path / "pets"), "model": "cnn", "framework": "torch"}
    run = maam.train(**options, image_size=8, epochs=1, out=tmp_path / "run", watch=seen.append).run
    again = maam.evaluate(run)
    assert 8 < again["seen"] <= again["images"] == 16
    told = f"{again['seen']} of the 16 scored images are copies, pixel for pixel, of images that it"
    assert any(isinstance(event, Note) and event.text.startswith(told) for event in seen)
    assert told in (run / "report.html").read_text(encoding="utf-8")
