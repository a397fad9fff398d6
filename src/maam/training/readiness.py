"""Is this machine ready? One check a line: fine, or what to do."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from maam.core import environment
from maam.core.errors import MaamError
from maam.core.frameworks import install
from maam.data.files.locations import cache_dir, search_folders
from maam.data.sources import cifar10, fashion_mnist
from maam.native import build
from maam.training.finalize import NEEDS

PYTHON = ((3, 11), (3, 12))  # oldest and newest that maam takes
REQUIRED = ("pillow", "onnxruntime", "safetensors", "pydantic", "cyclopts", "rich")

_SAFE_ISA = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2")
_GIB = 2**30
_NEEDED_BYTES = _GIB  # of memory, and of disk
_SECONDS = 120

# A 3x3 convolution of ones over ones is 9 wherever the window lies inside the image.
_COMPUTATION = """
import maam.mindspore, numpy as np, mindspore as ms
ones = ms.ops.conv2d(ms.Tensor(np.ones((1, 1, 8, 8), np.float32)),
                     ms.Tensor(np.ones((1, 1, 3, 3), np.float32)))
print("mean", float(ones.mean()))
"""


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        ok: whether it is as it should be.
        detail: what was found.
        fix: what to do; empty if ``ok``.
        required: whether maam can't be used otherwise; else only a part of it suffers.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""
    required: bool = True


def doctor(data_dir: Path | None = None, root: Path = Path("/")) -> list[Check]:
    """All checks, in the order in which a person wants to read them.

    Imports no framework; MindSpore computes in a process of its own, if it is installed.

    Args:
        data_dir: where data sets are looked for first, as for ``maam.train``.
        root: what the system's ``proc`` and ``dev`` lie in.
    """
    devices = root / "dev"
    return [
        _python(),
        Check("maam", True, sys.modules["maam"].__version__),
        _system(),
        _memory(root),
        _numpy(),
        *(_package(name, required=True) for name in REQUIRED),
        *(_package(name, required=False) for name in ("mindspore", *NEEDS["mindspore"])),
        _convolution(root),
        Check("device CPU", True, "always there"),
        _ascend(devices),
        _torch(devices),
        *_data(data_dir),
        _writable("working folder", Path.cwd()),
        _writable("cache folder", cache_dir()),
        _disk(cache_dir()),
        *([_native()] if _version("mindspore") or _version("torch") else []),
        *([_mindspore()] if _version("mindspore") else []),
    ]


def _python() -> Check:
    ok = PYTHON[0] <= sys.version_info[:2] <= PYTHON[1]
    detail = (
        f"{platform.python_version()} (MindSpore 2.7.0, which trains fastest, has wheels up to "
        "3.11; MindSpore 2.10 has them for 3.12)"
    )
    return Check("Python", ok, detail, "" if ok else "install maam with Python 3.11 or 3.12")


def _system() -> Check:
    machine = f"{platform.system()} {platform.release()} {platform.machine()}"
    return Check("system", True, f"{machine}, {environment.usable_cores()} cores")


def _memory(root: Path) -> Check:
    match = re.search(r"^MemAvailable:\s*(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    if not match:
        return Check("memory", True, "this system does not say how much is free", required=False)
    free = int(match[1]) * 1024
    ok = free >= _NEEDED_BYTES
    fix = "" if ok else "end other programs: training needs 1 GiB or more"
    return Check("memory", ok, f"{free / _GIB:.1f} GiB free", fix, required=False)


def _numpy() -> Check:
    version = _version("numpy")
    if not version:
        return Check("numpy", False, "not installed", "pip install 'numpy<2'")
    if _release(version) < (2,) or not _version("mindspore"):
        return Check("numpy", True, version)
    detail = f"{version}: MindSpore is built for NumPy 1"
    return Check("numpy", False, detail, "pip install 'numpy<2'")


def _package(name: str, required: bool) -> Check:
    version = _version(name)
    if version:
        return Check(name, True, version, required=required)
    detail = "not installed" if required else "not installed: only needed for training"
    fix = f"pip install {name}" if required else install("train")
    return Check(name, False, detail, fix, required)


def _convolution(root: Path) -> Check:
    """Will MindSpore's 3x3 convolutions run about 100 times too slowly?

    The oneDNN inside 2.9 and later picks a reference kernel on CPUs with AVX-512, unless it is
    held to AVX2; ``maam.core.environment`` does so, but leaves a user's choice alone.
    """
    wide = bool(re.search(r"^flags\b.*\bavx512f\b", _text(root / "proc/cpuinfo"), re.MULTILINE))
    value = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    version = _version("mindspore")
    cpu = "a CPU with AVX-512" if wide else "a CPU without AVX-512"
    detail = f"{cpu}, ONEDNN_MAX_CPU_ISA={value or '(not set)'}"
    name = "oneDNN instructions"
    if not version or _release(version) < (2, 9) or not wide or value.upper() in _SAFE_ISA:
        return Check(name, True, detail, required=False)
    return Check(
        name,
        False,
        f"{detail}: in MindSpore {version} 3x3 convolutions run about 100 times too slowly",
        "unset ONEDNN_MAX_CPU_ISA (maam then sets AVX2 by itself), or set it to AVX2",
        required=False,
    )


def _native() -> Check:
    """Can the operators be compiled that make training faster on a CPU?"""
    ok, detail = build.status()
    fix = "" if ok else "up to twice as slow without: install g++, leave MAAM_NATIVE unset"
    return Check("native operators", ok, detail, fix, required=False)


def _ascend(devices: Path) -> Check:
    cards = sorted(path.name for path in devices.glob("davinci[0-9]*"))
    toolkit = os.environ.get("ASCEND_HOME_PATH", "")
    tool = shutil.which("npu-smi")
    signs = [*cards, *(["npu-smi"] if tool else []), *([toolkit] if toolkit else [])]
    if not signs:
        return Check("device Ascend", True, "none here: training runs on the CPU", required=False)
    detail = f"found {', '.join(signs)}"
    if cards and toolkit:
        return Check("device Ascend", True, detail, required=False)
    what, fix = (
        "no /dev/davinci0",
        "install the Ascend driver, or pass the device to this container",
    )
    if cards:
        what, fix = (
            "ASCEND_HOME_PATH is not set",
            "install the CANN toolkit and source its set_env.sh",
        )
    return Check("device Ascend", False, f"{detail}, but {what}", fix, required=False)


def _torch(devices: Path) -> Check:
    version, cards = _version("torch"), sorted(devices.glob("nvidia[0-9]*"))
    detail = f"{version or 'not installed'}, needed for NVIDIA cards: {len(cards) or 'none'} here"
    if cards and (version is None or "+cpu" in version):
        fix = f"{install('torch')}, with a build of PyTorch for CUDA; train with --framework torch"
        return Check("PyTorch", False, detail, fix, required=False)
    return Check("PyTorch", True, detail, required=False)


def _data(data_dir: Path | None) -> Iterator[Check]:
    try:
        candidates = search_folders(data_dir)
    except MaamError as error:
        yield Check("data", False, str(error), "name the folder that has the data")
        candidates = search_folders(None)
    cifar = cifar10.find(candidates)
    fashion = fashion_mnist.find([*candidates, fashion_mnist.DEBIAN])
    for name, location in (("cifar10", cifar), ("fashion-mnist", fashion and fashion[0].parent)):
        detail = str(location or "not found: will be downloaded on first use")
        yield Check(f"data {name}", True, detail, required=False)
    if _version("scikit-learn"):
        yield Check("data digits", True, "comes with scikit-learn", required=False)
    else:
        yield Check(
            "data digits",
            False,
            "needs scikit-learn, which is not installed",
            install("train"),
            required=False,
        )


def _writable(name: str, folder: Path) -> Check:
    """Whether a file can be made in ``folder``, or where it would be made."""
    there = _existing(folder)
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        fix = {
            "working folder": "work in a folder of your own",
            "cache folder": "set MAAM_CACHE to a folder of your own",
        }[name]
        return Check(
            name, False, f"{there} can't be written to: {error.strerror}", fix, required=False
        )
    return Check(name, True, f"{folder} can be written to", required=False)


def _disk(folder: Path) -> Check:
    there = _existing(folder)
    free = shutil.disk_usage(there).free
    ok = free >= _NEEDED_BYTES
    fix = "" if ok else "make room: CIFAR-10 and a few runs need 1 GiB, or set MAAM_CACHE"
    return Check("disk", ok, f"{free / _GIB:.1f} GiB free at {there}", fix, required=False)


def _mindspore() -> Check:
    """Compute something in a fresh process and folder, where nothing may be left behind."""
    source = str(Path(__file__).parents[2])
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    repair = install("train").replace("install", "install --force-reinstall")
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-c", _COMPUTATION],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            detail = f"no answer to a tiny convolution within {_SECONDS} s"
            return _computed(False, detail, "end other programs and try again")
        left = sorted(os.listdir(folder))
    if done.stdout.split()[-2:] != ["mean", "9.0"]:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        return _computed(False, f"a tiny convolution failed: {said[-1]}", repair)
    if left:
        fix = "unset MS_OM_PATH and MS_COMPILER_CACHE_PATH: maam then sets them by itself"
        return _computed(False, f"it left {', '.join(left)} in the working folder", fix)
    return _computed(True, "a tiny convolution gives the right result", "")


def _computed(ok: bool, detail: str, fix: str) -> Check:
    return Check("MindSpore computes", ok, detail, fix, required=False)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _release(version: str) -> tuple[int, ...]:
    """(2, 10) of ``2.10.0rc1``."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # not Linux
        return ""


def _existing(folder: Path) -> Path:
    """``folder``, or the nearest folder above it that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if os.path.isdir(path))
