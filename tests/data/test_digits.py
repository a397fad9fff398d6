"""scikit-learn's digits: the real data, split."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from maam.core.errors import MaamError
from maam.data.sources import digits


def test_images_labels_and_splits():
    datasets = pytest.importorskip("sklearn.datasets")
    data = digits.load(None, 0.1, seed=0)
    assert (len(data.train), len(data.val), len(data.test)) == (1294, 144, 359)
    assert data.image_shape == (8, 8, 1) and data.train.pixels().dtype == np.uint8
    assert data.name == "digits" and data.augment == "crop" and data.classes == tuple("0123456789")
    parts = (data.train, data.val, data.test)
    assert len({name for part in parts for name in part.names}) == 1797
    pixels, labels = datasets.load_digits(return_X_y=True)
    for part in parts:
        rows = [int(name.split("/")[1]) for name in part.names]
        assert (part.labels == labels[rows]).all()
        assert (np.abs(part.pixels().reshape(-1, 64) - pixels[rows] * 255 / 16) <= 0.5).all()
        counts = np.bincount(part.labels, minlength=10)
        assert counts.max() - counts.min() <= 0.2 * counts.mean()


def test_the_test_split_does_not_depend_on_the_seed():
    pytest.importorskip("sklearn.datasets")
    one, other = digits.load(None, 0.1, seed=1), digits.load(None, 0.1, seed=2)
    assert one.test.names == other.test.names
    assert one.val.names != other.val.names
    assert len(digits.load(None, 0.0, seed=0).val) == 0


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MaamError, match=r"pip install '\.\[train\]'"):
        digits.load(None, 0.1, seed=0)
