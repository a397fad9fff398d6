"""Run folders: what they know of themselves, how far they have come, and who may write there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_run import make_run

from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder, new_run_folder
from maam.core.run_meta import RunMeta
from maam.core.tensors import load_tensors
from maam.models.weights import WEIGHTS

ROOT = Path(__file__).parents[2]
KEPT = sorted(
    [
        *(ROOT / "results").glob("*/meta.json"),
        *(ROOT / "results").glob("*/*/meta.json"),
        *(ROOT / "src" / "maam" / "models" / "weights").glob("*/meta.json"),
    ]
)
PREPROCESSING = {"size": [48, 64], "channels": 3, "mean": [0.0] * 3, "std": [1.0] * 3}
META = RunMeta(model="maam", classes=("cat", "dog"), preprocessing=PREPROCESSING)

names = st.text(min_size=1, max_size=8)
counts = st.integers(0, 10**9)
metas = st.builds(
    RunMeta,
    model=names,
    classes=st.lists(names, min_size=2, max_size=4).map(tuple),
    preprocessing=st.just(PREPROCESSING),
    parameters=st.none() | counts,
    macs=st.none() | counts,
    data=st.text(max_size=8),
    data_digests=st.dictionaries(names, names, max_size=2),
    images=st.dictionaries(st.sampled_from(["train", "val", "test"]), counts),
    device=st.sampled_from(["", "CPU", "CUDA", "Ascend"]),
    device_name=st.sampled_from(["", "NVIDIA A100 (40GB)"]),
    config=st.dictionaries(names, st.booleans() | counts | names, max_size=3),
    operators=st.sampled_from(["", "native", "framework"]),
    teacher=st.none() | st.just({"model": "cnn", "teacher": None}),
    start=st.none() | st.just({"model": "cnn", "run": "digits-cnn"}),
    stages=st.lists(st.fixed_dictionaries({"epochs": counts, "until": counts}), max_size=2).map(
        tuple
    ),
    metrics=st.none() | st.just({"accuracy": 0.5, "per_class": [{"f1": 0.0}]}),
    epochs=st.none() | counts,
    seconds=st.none() | st.floats(0, 1e9),
    export_error=st.none() | st.floats(0, 1),
    fused=st.booleans(),
    shipped=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(metas)
def test_metadata_comes_back_from_json(meta):
    values = json.loads(json.dumps(meta.to_dict()))
    assert RunMeta.from_dict(values) == meta
    assert values["format"] == 1
    assert None not in values.values() and "" not in values.values()


def test_metadata_comes_back_from_a_file(tmp_path):
    folder, meta = RunFolder(tmp_path), replace(META, device="CUDA", device_name="NVIDIA H100")
    folder.write_meta(meta)
    assert folder.read_meta() == meta
    assert meta.image_shape == (3, 48, 64)
    assert meta.model_shape == ("maam", 2, 3, (48, 64))
    assert meta.framework == "mindspore"
    assert replace(meta, config={"framework": "torch"}).framework == "torch"


@pytest.mark.parametrize(
    ("written", "device", "name"),
    [
        ("CUDA (NVIDIA H100 80GB HBM3)", "CUDA", "NVIDIA H100 80GB HBM3"),
        ("CUDA (NVIDIA A100 (40GB))", "CUDA", "NVIDIA A100 (40GB)"),
        ("CPU", "CPU", ""),
    ],
)
def test_an_old_device_is_told_from_its_name(tmp_path, written, device, name):
    make_run(tmp_path, device=written)
    meta = RunFolder(tmp_path).read_meta()
    assert (meta.device, meta.device_name) == (device, name)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.parent.name)
def test_every_kept_run_is_read_whole(path):
    meta = RunFolder(path.parent).read_meta()
    assert meta.to_dict() == json.loads(path.read_text())
    assert len(meta.classes) == 10 and meta.metrics


def test_kept_runs_are_there():
    assert {path.parents[1].name for path in KEPT} == {"results", "campaign", "weights"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"format": 99}',
        '{"format": 1}',
        '"x"',
        "[" * 100_000,
        b"\xff\xfe".decode("latin-1"),
        r'{"format": 1, "model": "\ud800"}',
    ],
)
def test_a_broken_meta_is_named(tmp_path, text):
    (tmp_path / "meta.json").write_text(text)
    with pytest.raises(MaamError, match=r"meta\.json"):
        RunFolder(tmp_path).read_meta()


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"classes": ["cat"]}, "classes"),
        ({"model": None}, "model"),
        ({"config": None}, "config"),
        ({"channels": 2}, r"preprocessing\.channels"),
        ({"std": [0.5, 0.25, 0.0]}, r"preprocessing\.std\.2"),
        ({"size": [10**9, 8]}, r"preprocessing\.size\.0"),
        ({"unknown": {"threshold": "1", "share": 0.1}}, r"unknown\.threshold"),
        ({"metrics": {"accuracy": "1"}}, r"metrics\.accuracy"),
        ({"metrics": {"images": "many"}}, r"metrics\.images"),
    ],
)
def test_a_meta_that_can_not_be_used_says_where(tmp_path, changes: dict[str, Any], where):
    make_run(tmp_path, **changes)
    with pytest.raises(MaamError, match=rf"meta\.json: {where}: .*train again"):
        RunFolder(tmp_path).read_meta()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_regular_file_is_not_read(tmp_path, make):
    folder = RunFolder(tmp_path)
    for path in (folder.meta, folder.history, folder.best):
        make(path)
    for read in (folder.read_meta, folder.read_history, lambda: load_tensors(folder.best)):
        with pytest.raises(MaamError, match="not a regular file: restore it"):
            read()


def test_a_folder_without_meta_is_no_run(tmp_path):
    with pytest.raises(MaamError, match="not a run folder"):
        RunFolder(tmp_path).read_meta()


def stages_of(folder: RunFolder) -> tuple[bool, bool, bool]:
    return folder.is_run(), folder.is_begun(), folder.is_finished()


def test_how_far_a_run_has_come(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert stages_of(folder) == (False, False, False)
    folder.path.mkdir()
    folder.history.write_text("")
    assert stages_of(folder) == (False, False, False)
    folder.config.write_text("")
    assert stages_of(folder) == (True, False, False)
    folder.write_meta(META)
    assert stages_of(folder) == (True, True, False)
    folder.write_meta(replace(META, metrics={"accuracy": 0.5}))
    assert stages_of(folder) == (True, True, False)  # there is no network yet
    folder.model.write_bytes(b"")
    assert stages_of(folder) == (True, True, True)
    folder.write_meta(META)
    assert stages_of(folder) == (True, True, False)  # it goes on for more epochs
    folder.meta.write_text("{")
    with pytest.raises(MaamError, match=r"meta\.json"):
        folder.is_finished()


def test_any_part_of_a_run_is_a_run(tmp_path):
    for name in ("meta", "config", "best", "model"):
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        getattr(folder, name).touch()
        assert folder.is_run()
    (tmp_path / "odd" / "meta.json").mkdir(parents=True)
    assert not RunFolder(tmp_path / "odd").is_run()


def test_history_without_an_epoch_is_empty(tmp_path):
    assert RunFolder(tmp_path).read_history() == []
    RunFolder(tmp_path).write_history([{"epoch": 1, "agent_weights": [[0.5, 0.5]]}])
    assert RunFolder(tmp_path).read_history() == [{"epoch": 1, "agent_weights": [[0.5, 0.5]]}]


def test_run_folders_are_numbered_and_never_overwritten(tmp_path):
    made = [new_run_folder(None, "digits", "maam").path.as_posix() for _ in range(3)]
    assert made == ["runs/digits-maam", "runs/digits-maam-2", "runs/digits-maam-3"]
    assert new_run_folder(None, "/my/photos/", "cnn").path.as_posix() == "runs/photos-cnn"
    assert new_run_folder(None, "/my/pets.tar.gz", "cnn").path.as_posix() == "runs/pets-cnn"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert new_run_folder(empty, "digits", "maam") == RunFolder(empty)
    (empty / "file").touch()
    with pytest.raises(MaamError, match="not empty"):
        new_run_folder(empty, "digits", "maam").check_free()
    with pytest.raises(MaamError, match="is a file"):
        new_run_folder(empty / "file", "digits", "maam")
    with pytest.raises(MaamError, match="cannot make"):
        new_run_folder(empty / "file" / "below", "digits", "maam")


def test_a_folder_is_free_until_something_would_be_lost(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.lock():
        folder.check_free()
    folder.config.write_text("")
    folder.environment.write_text("{}")
    folder.check_free()  # a run that was stopped before its first step
    for path in (folder.meta, folder.best, folder.path / "holiday.jpg"):
        path.touch()
        with pytest.raises(MaamError, match=rf"`out` {folder} is not empty.*`resume` {folder}"):
            folder.check_free()
        path.unlink()
    folder.check_free()


HOLDER = """
import sys
from pathlib import Path
from maam.core.run_folder import RunFolder

with RunFolder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(folder: RunFolder) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder until its standard input ends."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child
        child.kill()


@pytest.mark.parametrize("killed", [False, True])
def test_two_processes_do_not_train_in_one_folder(tmp_path, killed):
    folder = RunFolder(tmp_path / "runs" / "shared")
    with held_elsewhere(folder) as holder:
        with (
            pytest.raises(MaamError, match=f"{folder} is being trained by another process"),
            folder.lock(),
        ):
            pass
        with RunFolder(tmp_path / "runs" / "other").lock():  # which is no concern of theirs
            pass
        if killed:
            holder.kill()
        holder.communicate("")
        assert holder.returncode == (-9 if killed else 0)
        with folder.lock():
            assert folder.path.is_dir()


def test_a_lock_that_can_not_be_had_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(MaamError, match=r"cannot make the folder .*file"),
        RunFolder(tmp_path / "file").lock(),
    ):
        pass
    (tmp_path / "run" / ".lock").mkdir(parents=True)
    with (
        pytest.raises(MaamError, match=r"cannot write .*\.lock"),
        RunFolder(tmp_path / "run").lock(),
    ):
        pass


@pytest.mark.parametrize(
    "wrong",
    [
        {"stages": 5},
        {"stages": ["a"]},
        {"stages": [{"until": 1}]},
        {"metrics": "a"},
        {"metrics": {"accuracy": "a"}},
        {"device": 3},
        {"images": []},
        {"parameters": "x"},
        {"environment": []},
        {"config": {"framework": 3}},
    ],
)
def test_a_value_of_another_type_is_one_line(wrong, tmp_path):
    values = RunFolder(WEIGHTS / "maamnet-nano").read_meta().to_dict() | wrong
    folder = RunFolder(tmp_path)
    folder.meta.write_text(json.dumps(values))
    with pytest.raises(MaamError, match=rf"meta\.json: {next(iter(wrong))}") as caught:
        folder.read_meta()
    assert "\n" not in str(caught.value)
