"""Probabilities that mean something, and answers that are "unknown"."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import maam
import maam.torch
from maam.cli.app import run
from maam.core.metrics import calibration_error, softmax
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors
from maam.models import registry
from maam.torch import step
from maam.training.calibration import fit_temperature, images_needed, unknown_threshold
from maam.training.events import Note
from maam.training.schedule import OPTIMIZERS


@pytest.fixture
def registries(monkeypatch):
    """Forgets in the end what a test registers."""
    monkeypatch.setattr(registry, "_models", dict(registry._models))
    monkeypatch.setattr(step, "_optimizers", dict(step._optimizers))
    optimizers = set(OPTIMIZERS)
    yield
    OPTIMIZERS.intersection_update(optimizers)


def noted(events):
    return [event.text for event in events if isinstance(event, Note)]


FRAMEWORKS = [pytest.param("mindspore", marks=pytest.mark.slow), "torch"]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_of_drawn_labels_is_found(temperature, rng):
    logits = rng.standard_normal((5000, 6)) * 3
    probabilities = softmax(logits / temperature)
    labels = (probabilities.cumsum(1) > rng.random((5000, 1))).argmax(1)
    fitted = fit_temperature(logits, labels)
    assert fitted == pytest.approx(temperature, rel=0.07)
    assert calibration_error(softmax(logits / fitted), labels) < 0.03


def test_images_that_are_all_right_give_no_certainty():
    labels = np.arange(40) % 3
    logits = np.eye(3)[labels]
    sure = softmax(logits / fit_temperature(logits, labels)).max(1)
    assert sure == pytest.approx(41 / 42, abs=0.002)  # 40 right ones: 41 to 1


@pytest.mark.parametrize("scale", [0.5, 1, 2, 5, 12])
def test_few_images_do_not_speak_against_probabilities_that_fit_them(scale):
    labels = np.array([0, 1, 2, 0, 1])
    logits = np.eye(3)[labels] * scale
    logits[0] = logits[1]  # one of five is wrong
    surprised = scale == 12  # sure of 99.999 %
    assert (fit_temperature(logits, labels) == 1) == (not surprised)


def test_chance_alone_seldom_changes_the_temperature(rng):
    changed = 0
    for _ in range(200):
        logits = rng.standard_normal((12, 3)) * 2
        labels = (softmax(logits).cumsum(1) > rng.random((12, 1))).argmax(1)
        changed += fit_temperature(logits, labels) != 1
    assert changed < 20  # 5 % of 200, and what few images add


def test_the_threshold_leaves_the_share_out(rng):
    confidences = softmax(rng.standard_normal((1000, 4))).max(1)
    threshold = unknown_threshold(confidences, 0.05)
    assert (confidences < threshold).sum() == 49  # the 50th of 1000: floor(0.05 * 1001)


@pytest.mark.parametrize(
    ("count", "share"), [(49, 0.02), (60, 0.02), (99, 0.02), (10, 0.1), (4, 0.3)]
)
def test_no_more_than_the_share_is_called_unknown_however_few_images(count, share):
    rng = np.random.default_rng(0)
    known, others = rng.beta(8, 2, (4000, count)), rng.beta(8, 2, (4000, 50))
    thresholds = np.array([unknown_threshold(some, share) for some in known])
    alarms = (others < thresholds[:, None]).mean()
    rank = int(share * (count + 1) + 1e-9)
    assert alarms == pytest.approx(rank / (count + 1), abs=0.003)
    assert rank / (count + 1) <= share + 1e-9


@pytest.mark.parametrize("share", [0.01, 0.02, 0.07, 0.29, 0.5, 0.9])
def test_how_many_images_a_threshold_takes(share):
    needed = images_needed(share)
    assert unknown_threshold(np.linspace(0.5, 1, needed), share) is not None
    assert unknown_threshold(np.linspace(0.5, 1, needed - 1), share) is None
    assert unknown_threshold(np.linspace(0.5, 1, needed), 0) is None
    assert images_needed(0.02) == 49


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_run_is_calibrated_and_says_unknown(framework, tmp_path, capsys):
    options = {"data": "digits", "model": "cnn", "framework": framework, "epochs": 3}
    result = maam.train(**options, label_smoothing=0.4, unknown_share=0.1, out=tmp_path / "run")
    meta = RunFolder(result.run).read_meta()
    assert meta.calibration and meta.unknown
    assert meta.calibration["ece"] < 0.5 * meta.calibration["ece_before"]
    assert result.scores["ece"] < 0.1  # of the test images; about 0.3 before
    assert meta.calibration["temperature"] < 0.8
    assert meta.unknown["share"] == 0.1
    digits = maam.load_dataset("digits").test.pixels()[..., 0]
    answers = list(maam.predict(result.run, list(digits)))
    for answer in answers:
        assert answer.unknown == (answer.probabilities[0] < meta.unknown["threshold"])
        assert answer.unknown == meta.is_unknown(answer.probabilities[0])
    unsure = [number for number, answer in enumerate(answers) if answer.unknown]
    assert 0.02 < len(unsure) / len(digits) < 0.2
    Image.fromarray(digits[unsure[0]]).save(tmp_path / "digit.png")
    arguments = ["predict", str(result.run), str(tmp_path / "digit.png")]
    assert run(arguments) == 0
    assert "unknown, perhaps" in capsys.readouterr().out
    assert run([*arguments, "--format", "jsonl"]) == 0
    assert json.loads(capsys.readouterr().out)["unknown"] is True
    arguments = ["explain", *arguments[1:], "--framework", framework, "--out", str(tmp_path)]
    assert run(arguments) == 0
    assert "digit.png: unknown, perhaps" in capsys.readouterr().out
    (why,) = maam.explain(result.run, digits[unsure[0]], framework=framework)
    assert why.unknown
    page = (result.run / "report.html").read_text(encoding="utf-8")
    assert f"{len(unsure):,} of the {len(digits):,} scored images" in page


def test_it_can_be_told_to_name_a_class_always(tmp_path):
    options = {"data": "digits", "model": "mlp", "framework": "torch", "epochs": 1}
    result = maam.train(**options, unknown_share=0, out=tmp_path / "run")
    assert RunFolder(result.run).read_meta().unknown is None
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 8), np.uint8)
    assert not any(answer.unknown for answer in maam.predict(result.run, list(noise)))


def test_without_validation_images_nothing_is_fitted(tmp_path):
    events = []
    options = {"data": "digits", "model": "mlp", "framework": "torch", "epochs": 1}
    result = maam.train(**options, val_fraction=0, out=tmp_path / "run", watch=events.append)
    meta = RunFolder(result.run).read_meta()
    assert meta.calibration is None and meta.unknown is None
    assert "`unknown_share=0.02` takes 49 validation images, here are 0" in " ".join(noted(events))


def test_few_validation_images_set_no_threshold(tmp_path):
    events = []
    options = {"data": "digits", "model": "mlp", "framework": "torch", "epochs": 1}
    result = maam.train(**options, val_fraction=0.02, out=tmp_path / "run", watch=events.append)
    meta = RunFolder(result.run).read_meta()
    count = meta.images["val"]
    assert 10 <= count < 49 and meta.calibration and meta.unknown is None
    (note,) = (note for note in noted(events) if "unknown" in note)
    assert f"takes 49 validation images, here are {count}" in note
    page = (result.run / "report.html").read_text(encoding="utf-8")
    assert "never: a class is always named" in page


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_run_that_ends_twice_is_calibrated_once(framework, tmp_path):
    options = {"data": "digits", "model": "mlp", "framework": framework, "epochs": 2}
    options |= {"label_smoothing": 0.5, "schedule": "constant"}
    result = maam.train(**options, out=tmp_path / "run")
    before, weights = (
        RunFolder(result.run).read_meta(),
        (result.run / "best.safetensors").read_bytes(),
    )
    again = maam.train(resume=result.run)
    meta = RunFolder(result.run).read_meta()
    assert before.calibration and meta.calibration
    assert before.calibration["temperature"] < 0.8
    assert meta.calibration == pytest.approx(before.calibration, rel=1e-4)
    assert meta.unknown == before.unknown
    assert (result.run / "best.safetensors").read_bytes() == weights
    assert again.scores["ece"] == result.scores["ece"]


def test_a_longer_training_that_keeps_its_best_epoch_is_calibrated_once(tmp_path, registries):
    def forgetful(groups, config):  # from the fourth epoch on
        return torch.optim.SGD(groups, config.learning_rate, maximize=config.epochs > 3)

    maam.torch.register_optimizer("forgetful", forgetful)
    options = {"data": "digits", "model": "mlp", "framework": "torch", "epochs": 3}
    options |= {"label_smoothing": 0.5, "schedule": "constant", "optimizer": "forgetful"}
    options |= {"learning_rate": 0.1}
    result = maam.train(**options, out=tmp_path / "run")
    before, weights = (
        RunFolder(result.run).read_meta(),
        (result.run / "best.safetensors").read_bytes(),
    )
    maam.train(resume=result.run, epochs=4)
    meta = RunFolder(result.run).read_meta()
    assert (result.run / "best.safetensors").read_bytes() == weights and meta.epochs == 4
    assert before.calibration and abs(before.calibration["temperature"] - 1) > 0.1
    assert meta.calibration == pytest.approx(before.calibration, rel=1e-4)


class TwoLayers(nn.Module):
    """A head of two layers, or of one without a bias."""

    def __init__(self, num_classes, in_channels, image_size, head):
        super().__init__()
        pixels = in_channels * image_size[0] * image_size[1]
        self.flatten = nn.Flatten()
        self.classifier = {
            "two": lambda: nn.Sequential(
                nn.Linear(pixels, 32), nn.ReLU(), nn.Linear(32, num_classes)
            ),
            "no bias": lambda: nn.Linear(pixels, num_classes, bias=False),
            "bounded": lambda: nn.Sequential(nn.Linear(pixels, num_classes), nn.Tanh()),
        }[head]()

    def forward(self, x):
        return self.classifier(self.flatten(x))


class Nameless(TwoLayers):
    """Its last layer is not called ``classifier``."""

    def __init__(self, num_classes, in_channels, image_size):
        super().__init__(num_classes, in_channels, image_size, "no bias")
        self.last = self.classifier
        del self.classifier

    def forward(self, x):
        return self.last(self.flatten(x))


@pytest.mark.parametrize("head", ["two", "no bias", "bounded", "nameless"])
def test_only_what_divides_the_logits_is_scaled(head, tmp_path, registries):
    build = Nameless if head == "nameless" else TwoLayers
    arguments = {} if head == "nameless" else {"head": head}
    maam.register_model("own-head", "a head of its own", {"torch": build}, arguments)
    events = []
    options = {"data": "digits", "model": "own-head", "framework": "torch", "epochs": 3}
    options |= {"learning_rate": 0.01, "label_smoothing": 0.4, "out": tmp_path / "run"}
    result = maam.train(**options, watch=events.append)
    meta = RunFolder(result.run).read_meta()
    validated = maam.evaluate(result.run, split="val", framework="torch")
    row = next(
        each for each in reversed(result.history) if each["val_accuracy"] == validated["accuracy"]
    )
    assert row  # accuracy is that of an epoch as it was trained
    if head == "bounded":
        assert meta.calibration is None
        assert any(note.startswith("not calibrated") for note in noted(events))
        assert load_tensors(result.run / "best.safetensors")[1].keys() == {"epoch"}
        return
    assert meta.calibration and meta.calibration["temperature"] < 0.9
    assert validated["ece"] == pytest.approx(meta.calibration["ece"], abs=1e-4)
    metadata = load_tensors(result.run / "best.safetensors")[1]
    assert metadata["temperature"] == pytest.approx(meta.calibration["temperature"], abs=1e-4)
