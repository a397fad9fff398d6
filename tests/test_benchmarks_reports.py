"""The generated pages are those of the results, and figures of unlike runs are not mixed."""

from __future__ import annotations

import json
from pathlib import Path

import curves
import design
import peers
import pytest

from maam import MaamError

ROOT = Path(__file__).parents[1]
RUN = {
    "model": "cnn",
    "classes": ["cat", "dog"],
    "preprocessing": {"size": [8, 8], "channels": 1, "mean": [0.0], "std": [1.0]},
    "data": "cifar10",
    "data_source": "images",
    "data_digests": {"test": "a"},
    "images": {"train": 8, "val": 0, "test": 8},
    "metrics": {"accuracy": 0.5},
}


@pytest.mark.parametrize(
    ("name", "written", "make"),
    [("comparison", "peers", peers.page), ("design-notes", "design", design.notes)],
)
def test_pages_are_those_of_the_results(name, written, make):
    results = json.loads((ROOT / "results" / f"{written}.json").read_text())
    assert (ROOT / "docs" / f"{name}.md").read_text() == make(results)


def test_curves_are_those_of_the_records():
    records = curves.read(ROOT / "results" / "campaign")
    assert (ROOT / "docs" / "curves.md").read_text() == curves.page(records)


def test_kept_records_are_those_of_the_results():
    rows = json.loads((ROOT / "results" / "peers.json").read_text())["rows"]
    accuracies = {row["recipe"]: row["accuracies"] for row in rows}
    records = sorted((ROOT / "results" / "campaign").glob("*/meta.json"))
    assert records
    for record in records:
        accuracy = json.loads(record.read_text())["metrics"]["accuracy"]
        assert round(100 * accuracy, 2) in accuracies[record.parent.name.rpartition("-seed-")[0]]


def write(folder: Path, seed: int, **options: object) -> None:
    run = folder / f"cnn-seed-{seed}"
    run.mkdir(parents=True)
    meta = {"format": 1, **RUN, "config": {"seed": seed, "epochs": 5, **options}}
    (run / "meta.json").write_text(json.dumps(meta))


def test_runs_that_differ_are_no_seeds_of_each_other(tmp_path):
    write(tmp_path / "a", 0)
    write(tmp_path / "a", 1, epochs=6)
    with pytest.raises(MaamError, match="cnn-seed-1 was trained with other options"):
        peers.collect([tmp_path / "a"], [])
    write(tmp_path / "b", 0)
    write(tmp_path / "c", 0)
    with pytest.raises(MaamError, match="cnn-seed-0: its seed is there twice"):
        peers.collect([tmp_path / "b", tmp_path / "c"], [])
