from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from maam.training import readiness
from maam.training.readiness import Check, doctor

VERSIONS = {
    "numpy": "1.26.4",
    "pillow": "11.0.0",
    "onnxruntime": "1.20.0",
    "safetensors": "0.5.0",
    "pydantic": "2.10.0",
    "cyclopts": "4.0.0",
    "rich": "14.0.0",
    "mindspore": "2.7.0",
    "scikit-learn": "1.6.0",
    "matplotlib": "3.10.0",
    "onnx": "1.17.0",
}
AVX2 = "processor\t: 0\nflags\t\t: fpu sse4_1 avx avx2\n"
AVX512 = "processor\t: 0\nflags\t\t: fpu sse4_1 avx avx2 avx512f avx512dq\n"


class Machine:
    """A machine in good order, whose parts a test breaks one by one."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, monkeypatch
        self.versions: dict[str, str] = dict(VERSIONS)
        self.cpu, self.memory = folder / "proc" / "cpuinfo", folder / "proc" / "meminfo"
        self.dev = folder / "dev"
        self.cpu.parent.mkdir()
        self.cpu.write_text(AVX2)
        self.memory.write_text("MemTotal: 9999999 kB\nMemAvailable:    4194304 kB\n")
        self.dev.mkdir()
        for name in ("ASCEND_HOME_PATH", "MAAM_DATA", "ONEDNN_MAX_CPU_ISA"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("MAAM_CACHE", str(folder / "cache" / "maam"))
        monkeypatch.setattr(readiness.fashion_mnist, "DEBIAN", folder / "debian")
        monkeypatch.setattr(readiness.build, "status", lambda: (True, "in the cache"))
        monkeypatch.setattr(metadata, "version", self._version)
        monkeypatch.setattr(readiness.shutil, "which", lambda name: None)
        self.computes()

    def _version(self, package: str) -> str:
        if package not in self.versions:
            raise metadata.PackageNotFoundError(package)
        return self.versions[package]

    def computes(self, stdout: str = "mean 9.0\n", stderr: str = "", leaves: str = "") -> None:
        """Let the process that tries MindSpore end with this."""

        def run(command: list[str], cwd: str, **options: Any) -> subprocess.CompletedProcess[str]:
            if leaves:
                (Path(cwd) / leaves).mkdir()
            return subprocess.CompletedProcess(command, 0, stdout, stderr)

        self.patch.setattr(subprocess, "run", run)

    def checks(self, data_dir: Path | None = None) -> list[Check]:
        return doctor(data_dir, self.folder)

    def check(self, name: str, data_dir: Path | None = None) -> Check:
        (named,) = (check for check in self.checks(data_dir) if check.name == name)
        return named


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_a_machine_in_good_order(machine: Machine) -> None:
    found = machine.checks()
    assert [check.name for check in found if not check.ok] == []
    assert [check.name for check in found if check.fix] == []
    assert len({check.name for check in found}) == len(found)
    shown = {check.name: check.detail for check in found}
    assert VERSIONS.items() <= shown.items()
    assert shown["memory"] == "4.0 GiB free"


def test_every_failure_says_what_to_do_on_one_line(machine: Machine) -> None:
    machine.versions = {"numpy": "2.1.0", "mindspore": "2.10.0"}
    machine.computes(stdout="", stderr="Traceback:\n  ...\nImportError: no\n")
    machine.cpu.write_text(AVX512)
    machine.memory.write_text("MemAvailable: 1000 kB\n")
    (machine.dev / "davinci0").touch()
    failed = [check for check in machine.checks() if not check.ok]
    assert len(failed) > 10
    for check in failed:
        assert check.fix
        assert check.detail
        assert "\n" not in check.name + check.detail + check.fix


def test_what_only_training_needs_is_not_required(machine: Machine) -> None:
    del machine.versions["matplotlib"]
    (check,) = (check for check in machine.checks() if not check.ok)
    assert check == Check(
        "matplotlib",
        False,
        "not installed: only needed for training",
        "pip install '.[train]' in a clone of maam",
        required=False,
    )


def test_without_a_compiler_training_is_slower(machine: Machine) -> None:
    assert machine.check("native operators").ok
    reason = "no C++ compiler (g++ or c++) on the PATH"
    machine.patch.setattr(readiness.build, "status", lambda: (False, reason))
    found = machine.check("native operators")
    assert (found.ok, found.detail, found.required) == (False, reason, False)
    assert "g++" in found.fix


def test_an_nvidia_card_wants_a_pytorch_that_can_use_it(machine: Machine) -> None:
    assert machine.check("PyTorch").ok  # none installed, no card
    (machine.dev / "nvidia0").touch()
    (machine.dev / "nvidiactl").touch()
    for version in (None, "2.11.0+cpu"):
        machine.versions |= {"torch": version} if version else {}
        found = machine.check("PyTorch")
        assert not found.ok and not found.required and ".[torch]" in found.fix
    machine.versions["torch"] = "2.11.0+cu130"
    assert machine.check("PyTorch").detail == "2.11.0+cu130, needed for NVIDIA cards: 1 here"


@pytest.mark.parametrize(
    ("version", "ok"),
    [((3, 10, 4), False), ((3, 11, 0), True), ((3, 12, 9), True), ((3, 13, 0), False)],
)
def test_python(machine: Machine, version: tuple[int, int, int], ok: bool) -> None:
    machine.patch.setattr(sys, "version_info", version)
    found = machine.check("Python")
    assert (found.ok, found.required) == (ok, True)
    assert ok or "Python 3.11 or 3.12" in found.fix


@pytest.mark.parametrize(
    ("numpy", "mindspore", "ok"),
    [
        ("1.26.4", "2.7.0", True),
        ("2.0.0", "2.7.0", False),
        ("2.3.1", "2.10.0", False),
        ("2.3.1", None, True),
        (None, "2.7.0", False),
    ],
)
def test_numpy_pin(machine: Machine, numpy: str | None, mindspore: str | None, ok: bool) -> None:
    given = {"numpy": numpy, "mindspore": mindspore}
    machine.versions = {name: version for name, version in given.items() if version}
    found = machine.check("numpy")
    assert found.ok is ok
    assert found.fix == ("" if ok else "pip install 'numpy<2'")
    assert found.required


@pytest.mark.parametrize("name", sorted(VERSIONS))
def test_missing_package(machine: Machine, name: str) -> None:
    del machine.versions[name]
    found = machine.check(name)
    training = name in ("mindspore", "scikit-learn", "matplotlib", "onnx")
    assert not found.ok
    assert found.required is not training
    assert (".[train]" in found.fix) is training
    assert "not installed" in found.detail


@pytest.mark.parametrize(
    ("cpu", "version", "value", "ok"),
    [
        (AVX512, "2.7.0", None, True),
        (AVX512, "2.8.1", "AVX512_CORE", True),
        (AVX512, "2.9.0", None, False),
        (AVX512, "2.10.0", None, False),
        (AVX512, "2.10.0rc1", "ALL", False),
        (AVX512, "2.10.0", "AVX512_CORE_AMX", False),
        (AVX512, "2.10.0", "AVX2", True),
        (AVX512, "2.10.0", "avx2", True),
        (AVX2, "2.10.0", None, True),
        ("", "2.10.0", None, True),
        (AVX512, None, None, True),
    ],
)
def test_slow_convolutions_are_foreseen(
    machine: Machine, cpu: str, version: str | None, value: str | None, ok: bool
) -> None:
    machine.cpu.write_text(cpu)
    machine.versions = {"mindspore": version} if version else {}
    if value:
        machine.patch.setenv("ONEDNN_MAX_CPU_ISA", value)
    found = machine.check("oneDNN instructions")
    assert found.ok is ok
    assert ("100 times" in found.detail) is not ok
    assert ok or "AVX2" in found.fix
    assert (value or "(not set)") in found.detail


def test_system_without_proc(machine: Machine) -> None:
    machine.cpu.unlink()
    machine.memory.unlink()
    assert machine.check("memory").ok
    assert machine.check("oneDNN instructions").ok


def test_little_memory(machine: Machine) -> None:
    machine.memory.write_text("MemAvailable: 524288 kB\n")
    found = machine.check("memory")
    assert (found.ok, found.detail) == (False, "0.5 GiB free")


def test_ascend_with_and_without_its_parts(machine: Machine) -> None:
    assert machine.check("device Ascend").detail == "none here: training runs on the CPU"
    (machine.dev / "davinci0").touch()
    (machine.dev / "davinci_manager").touch()
    found = machine.check("device Ascend")
    assert not found.ok
    assert found.detail == "found davinci0, but ASCEND_HOME_PATH is not set"
    machine.patch.setenv("ASCEND_HOME_PATH", "/usr/local/Ascend/latest")
    found = machine.check("device Ascend")
    assert (found.ok, found.detail) == (True, "found davinci0, /usr/local/Ascend/latest")
    (machine.dev / "davinci0").unlink()
    assert "no /dev/davinci0" in machine.check("device Ascend").detail


def test_data_is_found_where_it_lies(machine: Machine, tmp_path: Path) -> None:
    absent = "not found: will be downloaded on first use"
    assert machine.check("data cifar10").detail == absent
    assert machine.check("data fashion-mnist").detail == absent
    place = tmp_path / "data"
    place.mkdir()
    (place / readiness.cifar10.ARCHIVE).touch()
    for name in readiness.fashion_mnist.FILES:
        (place / name).touch()
    assert machine.check("data cifar10", place).detail == str(place / readiness.cifar10.ARCHIVE)
    assert machine.check("data fashion-mnist", place).detail == str(place)


def test_data_folder_that_is_not_there(machine: Machine, tmp_path: Path) -> None:
    found = machine.check("data", tmp_path / "nowhere")
    assert not found.ok
    assert found.detail.startswith("`data_dir=")
    assert "nowhere" in found.detail
    assert machine.check("data cifar10", tmp_path / "nowhere").ok


def test_digits_need_scikit_learn(machine: Machine) -> None:
    del machine.versions["scikit-learn"]
    assert machine.check("data digits").fix == "pip install '.[train]' in a clone of maam"


@pytest.mark.parametrize(
    ("name", "part", "fix"),
    [("working folder", "work", "of your own"), ("cache folder", "cache", "MAAM_CACHE")],
)
def test_folder_that_refuses_a_file(machine: Machine, name: str, part: str, fix: str) -> None:
    refused = machine.folder / part
    refused.mkdir()
    if part == "work":
        machine.patch.chdir(refused)
    make = tempfile.TemporaryFile

    def refuse(dir: Path):
        if dir == refused:
            raise PermissionError(13, "Permission denied", str(dir))
        return make(dir=dir)

    machine.patch.setattr(tempfile, "TemporaryFile", refuse)
    found = machine.check(name)
    assert not found.ok
    assert found.detail == f"{refused} can't be written to: Permission denied"
    assert fix in found.fix


def test_nothing_is_left_by_looking(machine: Machine, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    machine.checks()
    assert sorted(tmp_path.rglob("*")) == before


def test_full_disk(machine: Machine) -> None:
    usage = type("usage", (), {"free": 2**28})
    machine.patch.setattr(readiness.shutil, "disk_usage", lambda path: usage)
    found = machine.check("disk")
    assert not found.ok
    assert found.detail == f"0.2 GiB free at {machine.folder}"


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        ({"stdout": "mean 8.5\n"}, "failed: mean 8.5"),
        ({"stdout": ""}, "failed: nothing"),
        ({"stdout": "", "stderr": "Traceback\nImportError: libgomp\n"}, "ImportError: libgomp"),
        ({"leaves": "kernel_meta"}, "it left kernel_meta in the working folder"),
    ],
)
def test_mindspore_that_does_not_compute(
    machine: Machine, outcome: dict[str, str], says: str
) -> None:
    machine.computes(**outcome)
    found = machine.check("MindSpore computes")
    assert not found.ok
    assert says in found.detail


def test_mindspore_that_hangs(machine: Machine) -> None:
    def run(command: list[str], timeout: int, **options: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    machine.patch.setattr(subprocess, "run", run)
    assert "within 120 s" in machine.check("MindSpore computes").detail


def test_mindspore_is_not_tried_where_it_is_not_installed(machine: Machine) -> None:
    del machine.versions["mindspore"]
    assert "MindSpore computes" not in [check.name for check in machine.checks()]


@pytest.mark.slow
def test_real_machine_computes_and_imports_nothing_heavy(tmp_path: Path) -> None:
    if not importlib.util.find_spec("mindspore"):
        pytest.skip("MindSpore is not installed")
    program = (
        "import sys, maam\n"
        "print({check.name: check.ok for check in maam.doctor()}['MindSpore computes'])\n"
        "heavy = {'mindspore', 'sklearn', 'matplotlib', 'onnx', 'onnxruntime'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=150,
        cwd=tmp_path,
        env={**os.environ, "MAAM_CACHE": str(tmp_path)},
        check=False,
    )
    assert done.stdout == "True\n[]\n", done.stderr
