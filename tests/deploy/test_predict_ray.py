"""The example that predicts with Ray, where Ray is installed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maam.cli.app import run

pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray[data]'")
EXAMPLE = Path(__file__).parents[2] / "examples" / "predict_ray.py"


def test_the_answers_of_ray_are_those_of_maam_predict(tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "images"
    for number in range(200):
        place = folder / str(number % 3) / f"{number:03}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)).save(place)
    (folder / "0" / "broken.jpg").write_bytes(b"no image")
    out, expected = tmp_path / "ray.csv", tmp_path / "expected.csv"
    command = [sys.executable, str(EXAMPLE), "maamnet-nano", str(folder), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert "200 images, 1 that could not be read" in done.stdout, done.stderr
    how = ["--format", "csv", "--output", str(expected)]
    assert run(["predict", "maamnet-nano", str(folder), *how]) == 1
    assert out.read_text() == expected.read_text()
