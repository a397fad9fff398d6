"""Checkpoints that are not what they should be: refused before any file of the run is changed."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors

import maam
from maam.cli.app import run
from maam.core.errors import MaamError
from maam.core.run_folder import NEXT_BEST, RunFolder
from maam.core.tensors import load_tensors, save_tensors

TRAIN: dict[str, Any] = {
    "data": "digits",
    "limit": 60,
    "model": "mlp",
    "epochs": 1,
    "framework": "torch",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return maam.train(**TRAIN, out=tmp_path_factory.mktemp("runs") / "run").run


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(trained, tmp_path / "run")))


def state(folder: RunFolder) -> dict[str, str]:
    files = [file for file in folder.path.rglob("*") if file.is_file()]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def refused(folder: RunFolder, message: str) -> None:
    before = state(folder)
    with pytest.raises(MaamError, match=message):
        maam.train(resume=folder.path, epochs=2)
    assert state(folder) == before


def test_a_checkpoint_that_is_gone_is_not_a_new_beginning(folder: RunFolder) -> None:
    folder.last.unlink()
    refused(folder, "last.safetensors is gone: restore it")


def test_best_weights_that_are_gone_are_missed_at_once(folder: RunFolder) -> None:
    folder.best.unlink()
    refused(folder, "best.safetensors is gone: restore it")


def test_best_weights_take_their_place_if_their_epoch_was_saved(folder: RunFolder) -> None:
    before = folder.read_meta()
    shutil.move(folder.best, folder.path / NEXT_BEST)
    scores = maam.train(resume=folder.path, epochs=1).scores
    assert before.metrics is not None and scores["loss"] == before.metrics["loss"]
    assert folder.best.exists() and not (folder.path / NEXT_BEST).exists()


def test_best_weights_that_cannot_take_their_place_are_kept(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: Any) -> None:
        raise MaamError(f"cannot write {path}: No space left on device")

    shutil.move(folder.best, folder.path / NEXT_BEST)
    monkeypatch.setattr("maam.training.checkpoint.save_tensors", full)
    with pytest.raises(MaamError, match=r"best\.safetensors: No space left"):
        maam.train(resume=folder.path, epochs=1)
    assert (folder.path / NEXT_BEST).exists()


def test_best_weights_of_an_epoch_that_was_not_saved_are_dropped(folder: RunFolder) -> None:
    weights, _ = load_tensors(folder.best)
    save_tensors(folder.path / NEXT_BEST, weights, {"epoch": 2})
    kept = folder.best.read_bytes()
    maam.train(resume=folder.path, epochs=1)
    assert folder.best.read_bytes() == kept and not (folder.path / NEXT_BEST).exists()


def test_what_described_other_weights_is_gone_once_the_run_goes_on(folder: RunFolder) -> None:
    for file in (folder.int8, folder.int8_model, folder.golden):
        file.write_bytes(b"of one epoch")
    maam.train(resume=folder.path, epochs=1)
    assert folder.int8.exists() and folder.int8_model.exists()  # nothing new was learned
    maam.train(resume=folder.path, epochs=2)
    assert not folder.int8.exists() and not folder.int8_model.exists()


def test_other_tensors_are_no_checkpoint(folder: RunFolder) -> None:
    shutil.copy(folder.best, folder.last)
    refused(folder, "last.safetensors is not a checkpoint of a training")


@pytest.mark.parametrize(
    "damage",
    [
        {"history": [{"epoch": 2}]},
        {"history": [3]},
        {"history": None},
        {"best_epoch": 7},
        {"best_epoch": "1"},
        {"step": -1},
        {"step": 1.5},
        {"totals": {"loss": 1.0}},
        {"halvings": None},
    ],
)
def test_progress_that_another_hand_wrote_is_refused(
    damage: dict[str, Any], folder: RunFolder
) -> None:
    tensors, progress = load_tensors(folder.last)
    save_tensors(folder.last, tensors, {**progress, **damage})
    refused(folder, "last.safetensors is not a checkpoint of a training")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, "is of another run, whose seed was 1, not 0"),
        ({"learning_rate": 0.5}, "is of another run, whose learning_rate was 0.5"),
        ({"optimizer": "sgd"}, "is of another run, whose optimizer was sgd"),
        ({"model": "maamnet-nano"}, "is of another run, whose model was maamnet-nano"),
        ({"limit": 70}, "is of another run, whose (images|limit)"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    options: dict[str, Any], message: str, folder: RunFolder, tmp_path: Path
) -> None:
    other = RunFolder(maam.train(**{**TRAIN, **options}, out=tmp_path / "other").run)
    shutil.copy(other.last, folder.last)
    refused(folder, message)


def test_a_checkpoint_of_an_older_version_is_taken(folder: RunFolder) -> None:
    tensors, progress = load_tensors(folder.last)
    kept = {name: progress[name] for name in ("history", "best_epoch")}
    save_tensors(folder.last, tensors, kept)
    assert len(maam.train(resume=folder.path, epochs=2).history) == 2


def test_a_finished_run_that_goes_on_is_finished_again(folder: RunFolder, trained: Path) -> None:
    before = [file.read_bytes() for file in (folder.best, folder.last)]
    scores = maam.train(resume=folder.path).scores
    before_scores = RunFolder(trained).read_meta().metrics
    assert before_scores is not None and scores["accuracy"] == before_scores["accuracy"]
    assert [file.read_bytes() for file in (folder.best, folder.last)] == before


def test_what_a_killed_process_was_writing_is_deleted(folder: RunFolder) -> None:
    left = folder.path / ".next.0123456789ab.tmp.safetensors"
    other = folder.path / ".mine.tmp.safetensors"
    for file in (left, other):
        file.write_bytes(b"half")
    maam.train(resume=folder.path)
    assert not left.exists() and other.exists()


@pytest.mark.parametrize("minutes", ["nan", "inf", "-1", "1e999", "soon"])
def test_times_that_are_none_are_refused(
    minutes: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = [f"--{key}={value}" for key, value in TRAIN.items()]
    out = tmp_path / "run"
    assert run(["train", *options, f"--checkpoint-minutes={minutes}", f"--out={out}"]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "checkpoint" in error and not out.exists()


def test_a_long_time_between_checkpoints_is_one(tmp_path: Path) -> None:
    result = maam.train(**TRAIN, checkpoint_minutes=1e308, out=tmp_path / "run")
    assert len(result.history) == 1


def test_a_resumed_run_reads_its_checkpoint_twice(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once to check it before anything is written, once to go on from it."""
    read: list[Path] = []
    safe_open = safetensors.safe_open

    def counting(path: Path, *args: Any, **options: Any) -> Any:
        read.append(path)
        return safe_open(path, *args, **options)

    monkeypatch.setattr(safetensors, "safe_open", counting)
    maam.train(resume=folder.path, epochs=2)
    assert read.count(folder.last) == 2
