"""MLPerf Tiny's rules: which images are scored, and what is told of rules that are not kept."""

from __future__ import annotations

import numpy as np
import pytest

from maam import MaamError
from maam.deploy.mlperf_tiny import accuracy_set, kept_rules


def test_the_200_images_are_those_of_mlcommons():
    labels = np.repeat(np.arange(10), 1000)
    chosen = accuracy_set(labels)
    published = [2, 1, 2, 5, 0, 4, 5, 4, 1, 3, 0, 5, 7, 4, 9, 3, 2, 5, 6, 4, 4, 1, 1, 8, 5]
    assert labels[chosen][:25].tolist() == published
    assert len(set(chosen.tolist())) == 200
    # In another order of the classes, the same ones within each.
    shuffled = np.tile(np.arange(10), 1000)
    again = accuracy_set(shuffled)
    assert (again // 10).tolist() == (chosen % 1000).tolist()
    with pytest.raises(MaamError, match="1,000 of each class: here are 100"):
        accuracy_set(np.repeat(np.arange(10), 10))


def test_rules_that_are_not_kept_are_told():
    kept = kept_rules(10, 5, "CIFAR-10 (original binary)")
    assert "5 runs of at least 10 seconds and 10 inferences" in kept["followed"]
    assert not any("archive" in text for text in kept["not_followed"])
    short = kept_rules(0.1, 5, "CIFAR-10 (JPEG copy)")["not_followed"]
    assert any("not 5 of 10 seconds" in text for text in short)
    assert any("not of the original archive" in text for text in short)
