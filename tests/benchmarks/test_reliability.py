"""The page of ``benchmarks/reliability.py`` is that of its results, none of which is a failure."""

from __future__ import annotations

import json
from pathlib import Path

import reliability

ROOT = Path(__file__).parents[2]
PARTS = json.loads((ROOT / "results" / "reliability.json").read_text())["parts"]


def test_the_page_is_that_of_the_results():
    assert (ROOT / "docs" / "reliability.md").read_text() == reliability.page(PARTS)


def test_every_row_was_run_as_it_is_written_now():
    rows = {part: [what for what, _ in rows] for part, rows in reliability.matrix(200).items()}
    assert {part: [row["what"] for row in rows] for part, rows in PARTS.items()} == rows


def test_nothing_failed():
    assert [row["what"] for rows in PARTS.values() for row in rows if row["failures"]] == []
    for row in (row for rows in PARTS.values() for row in rows):
        assert row["fine"] + row["noticed"] > 0, row["what"]
