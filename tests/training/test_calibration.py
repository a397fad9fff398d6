"""Probabilities that mean something, and answers that are "unknown"."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import maam
from maam.cli.app import run
from maam.core.metrics import calibration_error, softmax
from maam.core.run_folder import RunFolder
from maam.training.calibration import fit_temperature, unknown_threshold

FRAMEWORKS = [pytest.param("mindspore", marks=pytest.mark.slow), "torch"]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_of_drawn_labels_is_found(temperature, rng):
    logits = rng.standard_normal((5000, 6)) * 3
    probabilities = softmax(logits / temperature)
    labels = (probabilities.cumsum(1) > rng.random((5000, 1))).argmax(1)
    fitted = fit_temperature(logits, labels)
    assert fitted == pytest.approx(temperature, rel=0.07)
    assert calibration_error(softmax(logits / fitted), labels) < 0.03


def test_few_images_that_are_all_right_give_no_certainty():
    logits, labels = np.eye(3)[[0, 1, 2, 0]] * 5, np.array([0, 1, 2, 0])
    sure = softmax(logits / fit_temperature(logits, labels)).max(1)
    assert sure == pytest.approx(5 / 6, abs=0.02)  # four right ones: 5 to 1


def test_the_threshold_leaves_the_share_out(rng):
    probabilities = softmax(rng.standard_normal((1000, 4)))
    threshold = unknown_threshold(probabilities, 0.05)
    assert (probabilities.max(1) < threshold).mean() == pytest.approx(0.05, abs=0.002)


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
    unsure = [number for number, answer in enumerate(answers) if answer.unknown]
    assert 0.02 < len(unsure) / len(digits) < 0.2
    Image.fromarray(digits[unsure[0]]).save(tmp_path / "digit.png")
    arguments = ["predict", str(result.run), str(tmp_path / "digit.png")]
    assert run(arguments) == 0
    assert "unknown, perhaps" in capsys.readouterr().out
    assert run([*arguments, "--format", "jsonl"]) == 0
    assert json.loads(capsys.readouterr().out)["unknown"] is True


def test_it_can_be_told_to_name_a_class_always(tmp_path):
    options = {"data": "digits", "model": "mlp", "framework": "torch", "epochs": 1}
    result = maam.train(**options, unknown_share=0, out=tmp_path / "run")
    assert RunFolder(result.run).read_meta().unknown is None
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 8), np.uint8)
    assert not any(answer.unknown for answer in maam.predict(result.run, list(noise)))


def test_without_validation_images_nothing_is_fitted(tmp_path):
    options = {"data": "digits", "model": "mlp", "framework": "torch", "epochs": 1}
    result = maam.train(**options, val_fraction=0, out=tmp_path / "run")
    meta = RunFolder(result.run).read_meta()
    assert meta.calibration is None and meta.unknown is None
