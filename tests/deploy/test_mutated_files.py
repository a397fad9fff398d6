"""A sample of the matrix of mutated files of a run."""

from __future__ import annotations

import pytest
from matrix_files import TARGETS, fuzz


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_files_are_read_or_refused_in_a_line(name, tmp_path):
    counts = fuzz(tmp_path / "here", name, cases=200)
    assert not counts.failures, counts.examples
    assert counts.cases == 200 == counts.fine + counts.noticed
    assert counts.noticed > 20
