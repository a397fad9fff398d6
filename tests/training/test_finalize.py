"""What a training leaves at its end."""

from __future__ import annotations

import pytest
from PIL import Image

import maam
from maam.report.card import PLOTS

REAL_PICTURES = True


@pytest.mark.parametrize("model", ["maam", "resnet8"])
def test_the_pictures_of_a_run_are_drawn(model, tmp_path):
    run = maam.train(data="digits", model=model, limit=64, epochs=1, out=tmp_path / "run").run
    drawn = {path.name for path in (run / "plots").iterdir()}
    assert drawn == {name for name in PLOTS if model == "maam" or name != "agent_weights.png"}
    for name in drawn:
        with Image.open(run / "plots" / name) as image:
            image.load()
            assert image.format == "PNG" and min(image.size) > 300, name
