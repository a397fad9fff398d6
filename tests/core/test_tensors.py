"""Weight files: nothing half-written, nothing loaded that does not fit."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Parameter, Tensor

from maam import MaamError
from maam.core.files import atomic_path, check_writable, write_atomic
from maam.core.tensors import load_tensors, save_tensors
from maam.mindspore import weights


def parameters():
    return [
        Parameter(Tensor(np.arange(6, dtype=np.float32).reshape(2, 3)), name="a"),
        Parameter(Tensor(np.array(3, np.int32)), name="b"),
    ]


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "w.safetensors"
    save_tensors(path, weights.read_tensors(parameters()), {"epoch": 3})
    return path


def test_weights_and_facts_come_back(saved):
    arrays, facts = load_tensors(saved)
    assert facts == {"epoch": 3}
    targets = [Parameter(Tensor(np.zeros((2, 3), np.float32)), name="a"), parameters()[1]]
    weights.assign_tensors(targets, arrays, "w")
    assert np.array_equal(targets[0].asnumpy(), np.arange(6).reshape(2, 3))


def test_read_tensors_are_copies():
    live = parameters()
    snapshot = weights.read_tensors(live)
    weights.assign_tensors(live, {"a": np.ones((2, 3), np.float32), "b": np.array(1)}, "w")
    assert snapshot["a"].sum() == 15


@settings(max_examples=100, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(tmp_path_factory, position, bit):
    path = tmp_path_factory.mktemp("flip") / "w.safetensors"
    save_tensors(path, weights.read_tensors(parameters()), {"epoch": 3})
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(MaamError, match="damaged"):
        load_tensors(path)


def test_links_are_followed_and_devices_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "target").write_text("old")
    write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"
    with pytest.raises(MaamError, match="not a regular file"):
        write_atomic(Path("/dev/null"), "x")


@pytest.mark.parametrize("keep", [0, 4, 20, -1])
def test_a_truncated_file_is_noticed(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(MaamError, match=r"w\.safetensors is damaged"):
        load_tensors(saved)


def test_missing_and_foreign_files_are_named(tmp_path):
    from safetensors.numpy import save_file

    with pytest.raises(MaamError, match="does not exist"):
        load_tensors(tmp_path / "none.safetensors")
    save_file({"a": np.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(MaamError, match="not written by maam"):
        load_tensors(tmp_path / "foreign.safetensors")
    for kind in ("BF16", "F8_E4M3"):  # NumPy has no such numbers
        size = 2 if kind == "BF16" else 1
        head = json.dumps({"a": {"dtype": kind, "shape": [1], "data_offsets": [0, size]}}).encode()
        path = tmp_path / f"{kind}.safetensors"
        path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(size))
        with pytest.raises(MaamError, match="not written by maam"):
            load_tensors(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros((2, 3))}, "lacks b"),
        ({"a": np.zeros((2, 3)), "b": np.array(1), "c": np.array(1)}, "unknown c"),
        ({"a": np.zeros((3, 2)), "b": np.array(1)}, r"a has the shape \(3, 2\), not \(2, 3\)"),
        ({"a": np.full((2, 3), np.nan), "b": np.array(1)}, "a has values that are not finite"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(arrays, message):
    live = parameters()
    with pytest.raises(MaamError, match=message):
        weights.assign_tensors(live, arrays, "w")
    assert live[0].asnumpy().sum() == 15


def test_atomic_writing_keeps_the_old_file_when_something_breaks(tmp_path):
    path = tmp_path / "f.json"
    write_atomic(path, json.dumps([1]))
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "[1]"
    assert list(tmp_path.iterdir()) == [path]
    for target in (tmp_path / "none" / "f", path / "f"):
        with pytest.raises(MaamError, match="cannot write"):
            write_atomic(target, "x")


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "3", "[" * 100_000])
def test_metadata_that_is_no_record_is_one_line(text, tmp_path):
    """The checksum fits: someone has written it."""
    from safetensors.numpy import save

    path = tmp_path / "made.safetensors"
    path.write_bytes(save({}, {"sha256": hashlib.sha256(text.encode()).hexdigest(), "maam": text}))
    with pytest.raises(MaamError, match=r"made\.safetensors was not written by maam") as caught:
        load_tensors(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_written_is_known_before_long_work(tmp_path):
    check_writable(tmp_path / "a.json")
    assert not list(tmp_path.iterdir())
    for path in (Path("/proc/a.json"), tmp_path / "none" / "a.json", tmp_path):
        with pytest.raises(MaamError, match=re.escape(f"cannot write {path}: ")):
            check_writable(path)


def test_names_that_are_no_text_are_spelled_out_in_files(tmp_path):
    write_atomic(tmp_path / "a.txt", os.fsdecode(b"caf\xe9"))
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == r"caf\udce9"
