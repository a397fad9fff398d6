"""Compiling the native operators: kept, built anew, turned off, and training without them."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor

import maam
from maam.mindspore import MAAM, native_operators
from maam.native import build

NAME = ("mindspore", "normalization")
READY, REASON = build.library(*NAME)
needs_operator = pytest.mark.skipif(not READY, reason=REASON)
LIBRARY = f"from maam.native import build; print(*build.library{NAME})"


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("MAAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MAAM_NATIVE", raising=False)
    monkeypatch.setattr(build, "_refused", {})
    return tmp_path / "cache"


def child(code):
    """A Python that runs ``code`` and finds this maam."""
    environment = {**os.environ, "PYTHONPATH": str(Path(maam.__file__).parents[1])}
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def told(code):
    """What such a Python prints."""
    return child(code).communicate()[0]


def test_can_be_turned_off(fresh, monkeypatch):
    monkeypatch.setenv("MAAM_NATIVE", "0")
    assert build.library(*NAME) == (False, "turned off by MAAM_NATIVE=0")
    assert build.status() == (False, "turned off by MAAM_NATIVE=0")
    assert not native_operators(MAAM(3, 4))
    assert build.lack("mindspore") == ""  # as it was wished
    assert not fresh.exists()


def test_without_a_compiler_training_goes_on(fresh, monkeypatch, rng):
    monkeypatch.setenv("PATH", str(fresh))
    assert build.library(*NAME) == (False, "no C++ compiler (g++ or c++) on the PATH")
    net = MAAM(3, 4).set_train(True)
    assert not native_operators(net)
    assert build.lack("torch") == ""
    assert build.lack("mindspore").endswith("without: no C++ compiler (g++ or c++) on the PATH")
    assert build.lack("mindspore") == ""  # it is told once
    assert net(Tensor(rng.random((2, 3, 4, 4), dtype=np.float32))).shape == (2, 4, 2, 2)


def test_a_compiler_that_fails_is_named(fresh, tmp_path, monkeypatch):
    compiler = tmp_path / "g++"
    compiler.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "no room on device" >&2\nexit 1\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    ready, reason = build.library(*NAME)
    assert not ready
    assert "no room on device" in reason
    assert not list(fresh.rglob("*.so"))


def test_c_is_compiled_too(fresh, tmp_path):
    source = tmp_path / "answer.c"
    source.write_text("int answer(void) { return 42; }\n")
    ready, path = build.compiled("test", (source,), (), "C")
    if not ready:
        pytest.skip(path)
    assert ctypes.CDLL(path).answer() == 42
    assert Path(path).name.startswith("test-")


def test_without_a_c_compiler_that_is_said(fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(fresh))
    said = build.compiled("test", (tmp_path / "a.c",), (), "C")
    assert said == (False, "no C compiler (gcc or cc or clang) on the PATH")


@pytest.mark.parametrize("content", [b"", b"not a library"])
def test_a_file_that_cannot_be_loaded_is_no_operator(fresh, tmp_path, monkeypatch, content):
    compiler = tmp_path / "g++"
    (tmp_path / "made").write_bytes(content)
    compiler.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exit 0\n'
        f'while [ "$1" != -o ]; do shift; done\n/bin/cp {tmp_path}/made "$2"\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert build.library(*NAME)[0] is False


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("c++")), reason="no compiler")
def test_two_processes_may_build_at_once(fresh):
    builders = [child(LIBRARY) for _ in range(2)]
    said = {builder.communicate()[0] for builder in builders}
    assert len(said) == 1
    assert said.pop().startswith("True")
    assert len(list(fresh.rglob("*.*"))) == 1


@pytest.mark.slow
@needs_operator
def test_a_spoilt_library_is_built_anew(fresh):
    said = [told(LIBRARY)]
    (library,) = fresh.rglob("*.so")
    size = library.stat().st_size
    library.write_bytes(b"cut off")
    said.append(told(LIBRARY))
    assert said[0] == said[1] and said[0].startswith("True")
    assert library.stat().st_size == size


@needs_operator
def test_a_library_is_built_once(fresh):
    said = [told(LIBRARY)]
    (library,) = fresh.rglob("*.so")
    before = library.stat().st_ino
    said.append(told(LIBRARY))
    assert said[0] == said[1]
    assert library.stat().st_ino == before


@needs_operator
def test_a_folder_that_others_may_write_to_is_not_trusted(fresh):
    assert told(LIBRARY).startswith("True")
    (library,) = fresh.rglob("*.so")
    library.parent.chmod(0o777)
    said = told(LIBRARY)
    assert said.startswith("False") and f"chmod 700 {library.parent}" in said


def test_a_path_that_mindspore_cannot_name_is_refused(fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("MAAM_CACHE", str(tmp_path / "a:b"))
    ready, reason = build.library(*NAME)
    assert not ready and "colon" in reason


@needs_operator
def test_all_operators_are_there():
    ready, place = build.status()
    assert ready and place.startswith("in ")
    kept = {path.name.rpartition("-")[0] for path in Path(place.removeprefix("in ")).glob("*.so")}
    sources = Path(build.__file__).parent.rglob("*.cc")
    assert kept >= {f"{path.parent.name}-{path.stem}" for path in sources}


CORES = """
import sys
from pathlib import Path
from maam.native import build
source = Path(sys.argv[1]) / "cores.cc"
include = Path(build.__file__).with_name("native.h")
source.write_text(f'#include "{include}"\\nextern "C" int here() {{ return cores(); }}')
print(build.ctypes.CDLL(build.compiled("cores", (source,), (), "C++")[1]).here())
"""


@needs_operator
@pytest.mark.parametrize("given", ["", "0", "1", "100000"])
def test_threads_are_the_cores_but_no_more_than_asked_for(given, fresh, tmp_path):
    path = str(Path(maam.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": path, "MAAM_THREADS": given}
    said = subprocess.check_output([sys.executable, "-c", CORES, str(tmp_path)], env=environment)
    assert int(said) == (1 if given == "1" else len(os.sched_getaffinity(0)))


def test_asking_for_all_operators_imports_no_framework():
    code = "from maam.native import build; build.status(); import sys; print(*sys.modules)"
    assert not {"mindspore", "torch"} & set(told(code).split())


BEGIN = """
import sys, maam
from maam.training.events import Epoch, Note

class Enough(Exception):
    pass

def watch(event):
    if isinstance(event, Note):
        print("note:", event.text)
    if isinstance(event, Epoch):
        raise Enough

for model in ("mlp", "maam", "maam"):
    try:
        maam.train(data="digits", limit=60, val_fraction=0, model=model, batch_size=30, epochs=1,
                   framework=sys.argv[1], out=f"{model}-{len(open('asked').readlines())}",
                   watch=watch)
    except Enough:
        print(model, sorted(open("asked").read().split()))
"""


@pytest.mark.parametrize(
    ("framework", "files"),
    [
        ("torch", ["normalization.cc"]),
        pytest.param("mindspore", ["convolution.cc", "normalization.cc"], marks=pytest.mark.slow),
    ],
)
def test_a_training_asks_for_what_its_model_uses_and_tells_once_of_what_it_lacks(
    framework, files, fresh, tmp_path
):
    compiler = tmp_path / "bin" / "g++"
    compiler.parent.mkdir()
    compiler.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exit 0\n'
        f'for file; do :; done\necho "${{file##*/}}" >> {tmp_path}/asked\n'
        'echo "error: no room" >&2\nexit 1\n'
    )
    compiler.chmod(0o755)
    (tmp_path / "asked").touch()
    path, package = f"{compiler.parent}:{os.environ['PATH']}", Path(maam.__file__).parents[1]
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(package)}
    said = subprocess.check_output(
        [sys.executable, "-c", BEGIN, framework], env=environment, text=True
    ).splitlines()
    lacks = "note: networks that have operators of ours take up to twice as long without: "
    notes = [line for line in said if line.startswith(lacks)]
    assert len(notes) == 1 and "no room" in notes[0]
    assert said.index("mlp []") < said.index(notes[0])
    assert said.count(f"maam {files}") == 2


@pytest.mark.skipif(platform.machine() != "x86_64" or not shutil.which("g++"), reason="needs g++")
@pytest.mark.parametrize("processor", ["haswell", "skylake-avx512", "cooperlake"])
def test_other_processors_can_have_the_operators(processor):
    sources = sorted(Path(build.__file__).parent.glob("*/*.cc"))
    assert len(sources) > 5
    options = [
        "-fsyntax-only",
        "-std=c++17",
        "-fopenmp-simd",
        "-Wall",
        "-Werror",
        f"-march={processor}",
    ]
    done = subprocess.run(["g++", *options, *sources], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
