"""The paper's tables by a longer training: which runs they take, and what the page says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import tables
from tiny_run import make_run

from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.training.options import resolve

SCORES = ("accuracy", "f1_macro", "precision_macro", "recall_macro")


def finished(folder: Path, model: str, seed: int, accuracy: float, **facts: Any) -> Path:
    """A run of the recipe of a model, as a campaign's resumption ends it."""
    config = resolve({"seed": seed}, tables.RECIPES / f"table-{model}.toml")
    known = {
        "model": model,
        "config": config.model_dump(mode="json", exclude_none=True),
        "data": "cifar10",
        "data_source": "CIFAR-10 (JPEG copy)",
        "data_digests": {"test": "a"},
        "images": {"train": 50000, "val": 0, "test": 10000},
        "device": "CPU",
        "environment": {"cpu": "AMD EPYC", "mindspore": "2.7.0"},
        "metrics": {"split": "test", **dict.fromkeys(SCORES, accuracy)},
    }
    path = make_run(folder / f"table-{model}-seed-{seed}", **{**known, **facts})
    row = {"train_loss": 1.0, "val_accuracy": None, "agent_weights": []}
    lines = [json.dumps({"epoch": epoch, **row}) for epoch in range(1, config.epochs + 1)]
    RunFolder(path).history.write_text("\n".join(lines))
    return path


@pytest.fixture
def _empty(tmp_path, monkeypatch):
    for name in ("results", "docs"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tables, "ROOT", tmp_path)


def write(monkeypatch, *folders: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["tables.py", *map(str, folders)])
    tables.main()


@pytest.mark.usefixtures("_empty")
def test_finished_trainings_are_rows_beside_those_before(tmp_path, monkeypatch):
    finished(tmp_path / "a", "maam", 0, 0.86)
    finished(tmp_path / "a", "cnn", 0, 0.8)
    (tmp_path / "a" / "table-mlp-seed-0").mkdir()  # not begun
    write(monkeypatch, tmp_path / "a")
    finished(tmp_path / "b", "maam", 1, 0.88)
    write(monkeypatch, tmp_path / "b")
    text = (tmp_path / "docs" / "tables.md").read_text()
    assert "MAAM reaches 87.00 ± 1.41 %:" in text
    assert "- against CNN, 80.00 %: +7.00 points (2 seeds and 1)" in text
    assert "50,000 images of CIFAR-10 (JPEG copy); MindSpore 2.7.0 on CPU (AMD EPYC)." in text
    assert (tmp_path / "docs" / "tables" / "loss.png").stat().st_size > 1000
    before = (tmp_path / "results" / "tables.json").read_bytes()
    write(monkeypatch)
    assert (tmp_path / "results" / "tables.json").read_bytes() == before
    assert (tmp_path / "docs" / "tables.md").read_text() == text


def test_runs_of_other_options_or_without_scores_are_refused(tmp_path):
    with pytest.raises(MaamError, match="has no finished training"):
        tables.read(tmp_path / "nowhere")
    path = finished(tmp_path / "a", "cnn", 0, 0.8)
    path.rename(path.with_name("table-mlp-seed-0"))
    with pytest.raises(MaamError, match=r"table-mlp-seed-0 was not trained by .*table-mlp\.toml"):
        tables.read(tmp_path / "a")
    finished(tmp_path / "b", "cnn", 0, 0.8).rename(tmp_path / "b" / "table-cnn-seed-1")
    with pytest.raises(MaamError, match="with seed 1"):
        tables.read(tmp_path / "b")
    campaign = finished(tmp_path / "c", "cnn", 0, 0.8, metrics=None)
    RunFolder(campaign).scores.write_text('{"epochs": 30, "accuracy": 0.8}')
    with pytest.raises(MaamError, match=r"lacks scores: `maam train --resume .*` adds them"):
        tables.read(tmp_path / "c")


@pytest.mark.usefixtures("_empty")
def test_runs_on_other_images_are_not_mixed_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    finished(tmp_path / "a", "cnn", 0, 0.8)
    finished(tmp_path / "a", "cnn", 1, 0.8, data_digests={"test": "b"})
    with pytest.raises(SystemExit, match="2"):
        write(monkeypatch, tmp_path / "a")
    assert "differ in digest (b, a)" in capsys.readouterr().err
    results = tmp_path / "results" / "tables.json"
    assert not results.exists()
    results.write_text("{")
    with pytest.raises(SystemExit, match="2"):
        write(monkeypatch, tmp_path / "a")
    assert "tables.json is damaged, restore or delete it" in capsys.readouterr().err
