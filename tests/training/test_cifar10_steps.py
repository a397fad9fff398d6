"""A few real training steps on a small part of CIFAR-10, where MAAM_DATA says it lies."""

from __future__ import annotations

import os

import pytest

from maam import train

pytestmark = pytest.mark.skipif("MAAM_DATA" not in os.environ, reason="MAAM_DATA is not set")


@pytest.mark.slow
def test_the_papers_model_learns_from_real_images(tmp_path):
    options = {"learning_rate": 1e-4, "limit": 1280, "val_fraction": 0.004, "epochs": 3}
    result = train(data="cifar10", model="maam", **options, out=tmp_path / "r")
    assert result.scores["images"] == 10_000
    assert result.scores["accuracy"] > 0.2  # guessing gives 0.1
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
