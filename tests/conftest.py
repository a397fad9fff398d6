"""What all tests share: a clean working directory, MindSpore in its default mode, quick ends."""

from __future__ import annotations

import io
import sys

import pytest
from PIL import Image

from maam.core.environment import prepare_mindspore
from maam.report.card import PLOTS

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
    """Pictures and latencies take longer than a small training: one that ends in this process
    leaves dots for pictures, but in modules with ``REAL_PICTURES``, and latencies are measured
    once, not in turns. Processes of their own do both in full.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maam.deploy.latency.ROUNDS", 1)
        if not getattr(request.module, "REAL_PICTURES", False):
            patch.setattr("maam.training.finalize.draw_plots", _draw_dots)
        yield


def _draw_dots(run, *_):
    run.folder.plots.mkdir(exist_ok=True)
    for name in PLOTS:
        (run.folder.plots / name).write_bytes(DOT)


@pytest.fixture
def rng():
    import numpy as np

    return np.random.default_rng(0)
