"""What all tests share: a clean working directory, and no warnings from MindSpore's Python."""

from __future__ import annotations

import pytest

import maam  # noqa: F401 - before MindSpore, which reads its environment when it is imported


@pytest.fixture(autouse=True)
def _in_a_clean_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def rng():
    import numpy as np

    return np.random.default_rng(0)
