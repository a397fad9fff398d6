"""A sample of the matrix of configurations."""

from __future__ import annotations

from matrix_configs import configs, recipes


def test_generated_configurations(tmp_path):
    counts = configs(tmp_path, 300)
    assert not counts.failures, counts.examples
    assert counts.fine >= 150 and counts.noticed >= 15
    assert counts.measured["round trips"] > 100


def test_mutated_recipes(tmp_path):
    counts = recipes(tmp_path, 300)
    assert not counts.failures, counts.examples
    assert counts.fine > 2 and counts.noticed > 50
