"""Several processes that train together: what they can't do, and what they do with images."""

from __future__ import annotations

import pytest
from PIL import Image
from two_workers import FRAMEWORKS, TWO

from maam.cli.app import run
from maam.training.events import EpochTotals
from maam.training.ranks import Ranks


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--minutes", "2"], ["--minutes", "--epochs"]),
        (["--model", "mlp", "--batch-size", "7"], ["--batch-size 7", "multiple of 2"]),
        (["--model", "nothing"], ["nothing"]),
    ],
)
def test_what_several_workers_cannot_do(options, words, tmp_path, capfd):
    assert run(["train", *options, *TWO, "--out", str(tmp_path / "r")]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and all(word in error for word in words)
    assert not (tmp_path / "r").exists()


def test_a_memory_that_is_no_size_leaves_no_folder(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("MAAM_MEMORY", "lots")
    options = ["--model", "mlp", "--epochs", "1", "--out", str(tmp_path / "r")]
    assert run(["train", *options, *TWO]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "MAAM_MEMORY=lots" in error
    assert not (tmp_path / "r").exists()


def test_no_worker_is_none(tmp_path, capfd):
    assert run(["train", "--model", "mlp", "--workers-per-node", "0"]) == 2
    assert "--workers-per-node 0" in capfd.readouterr().err


def test_totals_are_those_of_all():
    other = EpochTotals(loss=3.0, correct=2, images=5, seconds=9.0)
    ranks = Ranks(1, 2, lambda values: [a + b for a, b in zip(values, (3.0, 2, 5), strict=False)])
    assert ranks.total(EpochTotals(1.0, 1, 5, 2.0)) == EpochTotals(4.0, 3, 10, 2.0)
    assert ranks.part(other) == EpochTotals(0.0, 0, 0, 9.0) and not ranks.writes
    assert Ranks().part(other) == other and Ranks().writes


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_workers_that_need_a_pack_make_it_once(framework, tmp_path, monkeypatch):
    """One that is read from the cache by both, and by one alone that goes on."""
    for number in range(40):
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (6 * number, 0, 0)).save(folder / f"{number}.png")
    monkeypatch.setenv("MAAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MAAM_MEMORY", "1k")
    out = str(tmp_path / "r")
    options = ["--model", "mlp", "--framework", framework, "--batch-size", "8", "--epochs", "1"]
    assert run(["train", str(tmp_path / "photos"), *options, "--out", out, *TWO]) == 0
    monkeypatch.delenv("MAAM_MEMORY")
    assert run(["train", "--resume", out, "--epochs", "2"]) == 0
    assert len([each for each in (tmp_path / "cache" / "packs").iterdir() if each.is_dir()]) == 1
    assert (tmp_path / "r" / "meta.json").read_text().count("packed-") == 3
