"""A sample of the matrix of packs; ``benchmarks/reliability.py`` runs all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from matrix_memory import large_images, many_files, many_images


@pytest.mark.slow
def test_a_pack_of_many_images_is_read_in_little_memory(tmp_path: Path) -> None:
    counts = many_images(tmp_path, 20_000)
    assert not counts.failures, counts.examples
    assert counts.fine == counts.cases == 20_000
    first, *rest = (mib for _, mib in counts.curves["8x8 pixels"])
    assert max(rest) < first + 100


def test_a_folder_of_many_files_is_listed(tmp_path: Path) -> None:
    counts = many_files(tmp_path, 5000)
    assert not counts.failures, counts.examples
    assert counts.fine == counts.cases == 5000


@pytest.mark.slow
def test_large_images_of_a_thousand_classes_are_streamed(tmp_path: Path) -> None:
    counts = large_images(tmp_path, 2000, 12)
    assert not counts.failures, counts.examples
    assert counts.fine == counts.cases == 2
