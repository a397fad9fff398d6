"""What all tests share: a clean working directory, and MindSpore in its default mode."""

from __future__ import annotations

import sys

import pytest

from maam.core.environment import prepare_mindspore

prepare_mindspore()  # before a test imports MindSpore, or onnx, by itself


@pytest.fixture(autouse=True)
def _in_a_clean_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _in_default_mode():
    """A verb that a test before has run leaves MindSpore's mode set for the process."""
    if ms := sys.modules.get("mindspore"):
        ms.set_context(mode=ms.PYNATIVE_MODE)


@pytest.fixture(autouse=True)
def _without_galleries(request, monkeypatch):
    """Drawing pictures takes most of a small training's time. ``test_plots`` draws them, and so do
    the trainings of fixtures that serve a whole file, and those in processes of their own.
    """
    if "maam.report.plots" in sys.modules and request.module.__name__ != "test_plots":
        from maam.core.files import write_atomic
        from maam.report import plots

        def blank(pictures, titles, heading, path, columns, cell):
            write_atomic(path, b"")

        monkeypatch.setattr(plots, "_gallery", blank)


@pytest.fixture
def rng():
    import numpy as np

    return np.random.default_rng(0)
