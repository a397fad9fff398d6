"""Operators of our own for MindSpore on a CPU, compiled for the very machine.

Each C++ file beside this one is compiled when a network first asks for it, and kept in the cache
folder. Where that is not possible, or MAAM_NATIVE=0 is set, networks use MindSpore's own operators:
the same results but for rounding, slower.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from maam.data.places import cache_dir
from maam.errors import MaamError
from maam.files import atomic_path

_HEADER = Path(__file__).with_name("native.h")
_OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fopenmp-simd", "-pthread", "-shared", "-fPIC")
_CPU_FACTS = Path("/proc/cpuinfo")
_SECONDS = 120


def status() -> tuple[bool, str]:
    """Whether all operators are there for training on a CPU: the cache folder, or why not.

    Builds them if need be, once, in seconds. Imports no framework.
    """
    for source in sorted(Path(__file__).parent.glob("*.cc")):
        ready, detail = library(source)
        if not ready:
            return False, detail
    return True, f"in {cache_dir()}"


def library(source: Path) -> tuple[bool, str]:
    """The compiled form of a C++ file, built unless it is there; or (False, the reason)."""
    if os.environ.get("MAAM_NATIVE") == "0":
        return False, "turned off by MAAM_NATIVE=0"
    return _built(source, cache_dir())


def usable(source: Path) -> bool:
    """Whether the operators of a C++ file are there and MindSpore computes on the CPU."""
    import mindspore as ms

    return ms.get_context("device_target") == "CPU" and library(source)[0]


@cache
def _built(source: Path, folder: Path) -> tuple[bool, str]:
    compiler = shutil.which("g++") or shutil.which("c++")
    if not compiler:
        return False, "no C++ compiler (g++ or c++) on the PATH"
    try:
        version = subprocess.run(
            [compiler, "--version"], capture_output=True, check=True, timeout=_SECONDS
        ).stdout
        texts = [path.read_bytes() for path in (source, _HEADER)]
        key = hashlib.sha256(b"\0".join([*texts, " ".join(_OPTIONS).encode(), version, _cpu()]))
        built = folder / f"{source.stem}-{key.hexdigest()[:16]}.so"
        if not built.exists():
            built.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(built) as temporary:  # two processes may build at once
                command = [compiler, *_OPTIONS, "-o", str(temporary), str(source)]
                subprocess.run(command, capture_output=True, check=True, timeout=_SECONDS)
        ctypes.CDLL(str(built))  # can it be loaded?
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        return False, f"{compiler} failed: {said[0]}"
    except (OSError, subprocess.TimeoutExpired, MaamError) as error:
        return False, str(error)
    return True, str(built)


def _cpu() -> bytes:
    """Model and instruction sets of the first processor."""
    names = (b"model name", b"flags", b"Features")
    lines = _CPU_FACTS.read_bytes().split(b"\n\n")[0].splitlines()
    return b"\n".join(line for line in lines if line.startswith(names))
