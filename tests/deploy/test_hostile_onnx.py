"""Hostile ONNX files: each a line that says what is wrong, soon, and in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hostile_onnx import hostile_files
from PIL import Image

import maam

# Predicts with each file in turn; prints exit code and seconds of each, and the peak memory in KiB.
PROGRAM = """
import json, re, sys, time
from pathlib import Path
from maam.cli.app import run
found = {}
for path in sys.argv[2:]:
    start = time.perf_counter()
    code = run(["predict", path, sys.argv[1]])
    found[path] = [code, time.perf_counter() - start]
peak = re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]
print("\\n" + json.dumps([found, int(peak)]))
"""


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("hostile") / "run"
    options = {"framework": "torch", "model": "maamnet-nano", "limit": 64, "epochs": 1}
    return maam.train(data="digits", **options, out=out).run / "model.onnx"


def test_hostile_files_are_one_line_each(good, tmp_path):
    files = hostile_files(good.read_bytes())
    assert len(files) >= 50
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with (tmp_path / "sparse.onnx").open("wb") as file:
        file.truncate(2**36)
    (tmp_path / "folder.onnx").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "photo.png")
    paths = [str(tmp_path / name) for name in [*files, "sparse.onnx", "missing.onnx"]]
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "photo.png"), *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found, peak = json.loads(done.stdout.splitlines()[-1])
    lines = done.stderr.splitlines()
    assert {path: code for path, (code, _) in found.items() if code != 2} == {}
    assert len(lines) == len(paths), done.stderr
    for path, line in zip(paths, lines, strict=True):
        assert line.startswith("maam: ") and Path(path).name in line, line
        assert len(line) < 700, line
    assert max(seconds for _, seconds in found.values()) < 10
    assert peak < 2**20


def test_the_good_file_is_good(good, tmp_path):
    (answer,) = maam.predict(good, Image.new("L", (8, 8)))
    assert answer.error is None
