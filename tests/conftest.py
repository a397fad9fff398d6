"""What all tests share: a clean working directory, MindSpore in its default mode, quick ends."""

from __future__ import annotations

import io
import sys

import pytest
from PIL import Image

from maam.core.environment import prepare_mindspore

prepare_mindspore()  # before a test imports MindSpore, or onnx, by itself


def _dot() -> bytes:
    png = io.BytesIO()
    Image.new("RGB", (1, 1)).save(png, "png")
    return png.getvalue()


DOT = _dot()  # stands for a picture


@pytest.fixture(autouse=True)
def _in_a_clean_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _in_default_mode():
    """A verb that a test before has run leaves MindSpore's mode set for the process."""
    if ms := sys.modules.get("mindspore"):
        ms.set_context(mode=ms.PYNATIVE_MODE)


@pytest.fixture(scope="module", autouse=True)
def _quick_ends(request):
    """A training ends with pictures, a report measures latencies: both take longer than a small
    training. Only modules with ``REAL_PICTURES`` draw, and latencies are measured once, not in
    turns. What runs in a process of its own does both in full.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maam.deploy.latency.ROUNDS", 1)
        if not getattr(request.module, "REAL_PICTURES", False):
            patch.setattr(
                "matplotlib.figure.Figure.savefig", lambda figure, file, **options: file.write(DOT)
            )
        yield


@pytest.fixture
def rng():
    import numpy as np

    return np.random.default_rng(0)
