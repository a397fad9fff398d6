"""A training that ends at any step and goes on is the uninterrupted one, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matrix_kills import state
from tiny_pack import make_pack

import maam
from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors, save_tensors
from maam.training.checkpoint import read_checkpoint
from maam.training.events import Note, Step

FRAMEWORKS = ["mindspore", "torch"]
TRAIN: dict[str, Any] = {
    "data": "digits",
    "limit": 200,
    "model": "mlp",
    "epochs": 2,
    "batch_size": 8,
    "checkpoint_minutes": 0,
}
FORMS: dict[str, dict[str, Any]] = {
    "adam, averaged, cut": {"ema": 0.9, "cutmix": 1.0},
    "sgd, varied": {"optimizer": "sgd", "augment": "trivial", "clip_norm": 1.0},
}


class Killed(BaseException):
    """What a signal that can't be caught leaves is what lies on the disk."""


def killed_at(epoch: int, step: int):
    def watch(event):
        if isinstance(event, Step) and (event.epoch, event.step) == (epoch, step):
            raise Killed

    return watch


def assert_same(run: Path, whole: Path) -> None:
    (tensors, rows), (expected, expected_rows) = state(run), state(whole)
    assert rows == expected_rows
    assert tensors.keys() == expected.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize(
    ("framework", "form"),
    [
        *(("torch", form) for form in FORMS),
        ("mindspore", "adam, averaged, cut"),
        pytest.param("mindspore", "sgd, varied", marks=pytest.mark.slow),
    ],
)
def test_a_training_that_was_killed_goes_on_to_the_last_bit(framework, form, tmp_path):
    options = {**TRAIN, **FORMS[form], "framework": framework}
    whole = maam.train(**options, out=tmp_path / "whole")
    for epoch, step in ((0, 20), (1, 24)):
        with pytest.raises(Killed):
            out = tmp_path / "killed" if epoch == 0 else None
            resume = None if epoch == 0 else tmp_path / "killed"
            where = {"out": out} if out else {"resume": resume}
            given = options if out else {}
            maam.train(**given, **where, watch=killed_at(epoch, step))
        checkpoint = read_checkpoint(RunFolder(tmp_path / "killed"))
        assert checkpoint is not None
        # The last step of an epoch is not saved for itself.
        assert checkpoint.progress["step"] == min(step + 1, 24)
    notes: list[str] = []
    maam.train(
        resume=tmp_path / "killed",
        watch=lambda event: notes.append(event.text) if isinstance(event, Note) else None,
    )
    assert "goes on after epoch 1 of 2, step 24 of the next" in notes
    assert_same(tmp_path / "killed", whole.run)


@pytest.mark.parametrize("framework", ["torch", pytest.param("mindspore", marks=pytest.mark.slow)])
def test_a_training_on_a_pack_goes_on_to_the_last_bit(framework, tmp_path, monkeypatch):
    if framework == "torch":  # images are decoded 16 at a time, some before the step and some after
        monkeypatch.setattr("maam.torch.loader.CHUNK", 16 * 8 * 8)
    pack = make_pack(tmp_path, 3, 48)
    varied = {"augment": "crop-flip", "cutmix": 1.0}
    options = {**TRAIN, **varied, "data": str(pack), "limit": None, "batch_size": 4}
    whole = maam.train(**options, framework=framework, out=tmp_path / "whole")
    with pytest.raises(Killed):
        maam.train(**options, framework=framework, out=tmp_path / "killed", watch=killed_at(1, 20))
    checkpoint = read_checkpoint(RunFolder(tmp_path / "killed"))
    assert checkpoint is not None and checkpoint.progress["step"] == 21
    maam.train(resume=tmp_path / "killed")
    assert_same(tmp_path / "killed", whole.run)


def test_a_student_goes_on_to_the_last_bit(tmp_path):
    teacher = maam.train(**{**TRAIN, "epochs": 1}, framework="torch", out=tmp_path / "teacher").run
    options = {**TRAIN, "framework": "torch", "teacher": str(teacher)}
    whole = maam.train(**options, out=tmp_path / "whole")
    with pytest.raises(Killed):
        maam.train(**options, out=tmp_path / "killed", watch=killed_at(1, 20))
    maam.train(resume=tmp_path / "killed")
    assert_same(tmp_path / "killed", whole.run)


def test_between_checkpoints_nothing_is_written(tmp_path):
    with pytest.raises(Killed):
        options = {**TRAIN, "checkpoint_minutes": 60, "framework": "torch"}
        maam.train(**options, out=tmp_path / "run", watch=killed_at(1, 20))
    checkpoint = read_checkpoint(RunFolder(tmp_path / "run"))
    assert checkpoint is not None
    assert (len(checkpoint.progress["history"]), checkpoint.progress["step"]) == (1, 0)


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_takes_its_place(damage, tmp_path):
    options = {**TRAIN, "framework": "torch"}
    whole = maam.train(**options, out=tmp_path / "whole")
    with pytest.raises(Killed):
        maam.train(**options, out=tmp_path / "run", watch=killed_at(1, 20))
    last = RunFolder(tmp_path / "run").last
    content = bytearray(last.read_bytes())
    content[-100] ^= 1
    if damage == "gone":
        last.unlink()
    else:
        last.write_bytes(content if damage == "flip" else content[:-1])
    notes: list[str] = []
    maam.train(
        resume=tmp_path / "run",
        watch=lambda event: notes.append(event.text) if isinstance(event, Note) else None,
    )
    assert any("previous.safetensors takes its place" in note for note in notes) is (
        damage != "gone"
    )
    assert_same(tmp_path / "run", whole.run)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_numbers_that_are_not_finite_go_back_and_on_with_half_the_rate(framework, tmp_path):
    notes: list[str] = []
    with pytest.raises(MaamError, match=r"with the learning rate halved 3 times too; .*lower"):
        maam.train(
            **{**TRAIN, "optimizer": "sgd", "framework": framework, "learning_rate": 1e12},
            out=tmp_path / "run",
            watch=lambda event: notes.append(event.text) if isinstance(event, Note) else None,
        )
    assert sum("with half the learning rate" in note for note in notes) == 3
    assert not RunFolder(tmp_path / "run").best.exists()


def test_a_rate_that_was_halved_stays_so_when_the_run_goes_on(tmp_path):
    """Weights that become useless once, as by a fault of the memory, cost a checkpoint."""
    options = {**TRAIN, "framework": "torch"}
    with pytest.raises(Killed):
        maam.train(**options, out=tmp_path / "run", watch=killed_at(0, 20))
    folder = RunFolder(tmp_path / "run")
    tensors, progress = load_tensors(folder.last)
    save_tensors(folder.last, tensors, {**progress, "halvings": 1})
    result = maam.train(resume=tmp_path / "run")
    whole = maam.train(**options, out=tmp_path / "whole")
    rates = [[row["learning_rate"] for row in each.history] for each in (result, whole)]
    np.testing.assert_allclose(rates[0], np.array(rates[1]) / 2)
