"""Compile our C++ operators, and other C and C++ of ours, for the very machine, and load them.

A file is compiled when a network first asks for it, and kept in the cache folder. Where that is not
possible, or MAAM_NATIVE=0 is set, networks use the framework's own operators: the same results but
for rounding, slower.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock

from maam.core.errors import MaamError
from maam.core.files import atomic_path, cache_dir

_HERE = Path(__file__).parent
_HEADERS = tuple(sorted(_HERE.glob("*.h")))
_SHARED = ("-O3", "-march=native", "-shared", "-fPIC")
# Both sides of `a < 0 ? 0 : b` may be computed: without that it has no vectors with AVX2.
_SIMD = ("-fopenmp-simd", "-fno-trapping-math")
_LANGUAGES = {  # its compilers, and their options
    "C++": (("g++", "c++"), ("-std=c++17", "-pthread", *_SIMD, *_SHARED)),
    "C": (("gcc", "cc", "clang"), ("-std=c99", *_SHARED)),
}
_CPU_FACTS = Path("/proc/cpuinfo")
_SECONDS = 120
NO_MEMORY = 4  # `kNoMemory` of native.h
_BUILDING = Lock()
_loaded: set[str] = set()  # frameworks
_refused: dict[str, str] = {}  # framework -> why; empty once it was told


def status() -> tuple[bool, str]:
    """Whether all operators are there for training on a CPU: the cache folder, or why not.

    Builds them if need be, once, in a minute or more. Imports no framework.
    """
    for source in sorted(_HERE.rglob("*.cc")):
        ready, detail = _library(source.parent.name, source.stem)
        if not ready:
            return False, detail
    return True, f"in {_folder()}"


def lack(framework: str) -> str:
    """Why networks of this process that asked for operators go without, and what that costs.

    It is told once; "" afterwards, or if none was refused. Operators that are turned off are not
    missed.
    """
    detail = _refused.get(framework)
    if not detail:
        return ""
    _refused[framework] = ""
    return f"networks that have operators of ours take up to twice as long without: {detail}"


def library(framework: str, name: str) -> tuple[bool, str]:
    """The compiled form of a C++ file, built unless it is there; or (False, the reason).

    A network asks for it that has a use for it; ``lack`` tells if that was in vain.

    Args:
        framework: the file's folder.
        name: the file's name, without its suffix.
    """
    ready, detail = _library(framework, name)
    if not ready and not _turned_off():
        _refused.setdefault(framework, detail)
    return ready, detail


def _library(framework: str, name: str) -> tuple[bool, str]:
    if _turned_off():
        return False, "turned off by MAAM_NATIVE=0"
    source = _HERE / framework / f"{name}.cc"
    return compiled(f"{framework}-{name}", (source,), _HEADERS, "C++")


def _turned_off() -> bool:
    return os.environ.get("MAAM_NATIVE") == "0"


@cache
def functions(framework: str, name: str) -> ctypes.CDLL | None:
    """The functions of a C++ file, to be called by ``ctypes``, or None where they can't be had."""
    ready, path = library(framework, name)
    if not ready:
        return None
    _loaded.add(framework)
    return ctypes.CDLL(path)


def loaded(framework: str) -> bool:
    """Whether a framework has asked for ``functions``, and got them."""
    return framework in _loaded


def call(
    place: tuple[str, str],
    name: str,
    sizes: Sequence[int],
    bfloat16: bool,
    addresses: Sequence[int],
) -> None:
    """Call one of ``functions``.

    Args:
        place: framework and file.
        name: of the function.
        sizes: its first argument.
        bfloat16: whether maps are bfloat16; else they are float32.
        addresses: of the arrays in memory.

    Raises:
        MemoryError: it could not have the memory that it needs.
        RuntimeError: it does not take these sizes.
    """
    numbers = (ctypes.c_int64 * len(sizes))(*sizes)
    arrays = map(ctypes.c_void_p, addresses)
    outcome = getattr(functions(*place), name)(numbers, bfloat16, *arrays)
    if outcome == NO_MEMORY:
        raise MemoryError(f"no memory for {name} of {place[1]}.cc")
    if outcome:
        raise RuntimeError(f"{name} of {place[1]}.cc does not take the sizes {tuple(sizes)}")


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def _folder() -> Path:
    return cache_dir().absolute() / f"native-{_user()}"


def compiled(
    name: str, sources: tuple[Path, ...], headers: tuple[Path, ...], language: str
) -> tuple[bool, str]:
    """A library compiled for this very processor, built unless it is there; or (False, the reason).

    Args:
        name: how the file's name in the cache folder begins.
        sources: the files to compile.
        headers: files that they include; a change of one builds the library anew.
        language: ``C`` or ``C++``.
    """
    with _BUILDING:
        return _built(name, sources, headers, language, _folder())


@cache
def _built(
    name: str, sources: tuple[Path, ...], headers: tuple[Path, ...], language: str, folder: Path
) -> tuple[bool, str]:
    if ":" in str(folder):
        return False, f"{folder} has a colon, which MindSpore can't take: set MAAM_CACHE"
    names, options = _LANGUAGES[language]
    compiler = next(filter(None, map(shutil.which, names)), None)
    if not compiler:
        return False, f"no {language} compiler ({' or '.join(names)}) on the PATH"
    try:
        version = subprocess.run(
            [compiler, "--version"], capture_output=True, check=True, timeout=_SECONDS
        ).stdout
        texts = [path.read_bytes() for path in (*sources, *headers)]
        key = hashlib.sha256(b"\0".join([*texts, " ".join(options).encode(), version, _cpu()]))
        built = folder / f"{name}-{key.hexdigest()[:16]}.so"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.stat()
        if owner.st_uid != _user() or owner.st_mode & 0o022:
            return False, f"others may write to {folder}: chmod 700 {folder}, or set MAAM_CACHE"
        with suppress(OSError):  # not there, or spoilt
            ctypes.CDLL(str(built))
            return True, str(built)
        with atomic_path(built) as temporary:  # two processes may build at once
            command = [compiler, *options, "-o", str(temporary), *map(str, sources)]
            subprocess.run(command, capture_output=True, check=True, timeout=_SECONDS)
        ctypes.CDLL(str(built))
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        return False, f"{compiler} failed: {next((s for s in said if 'error' in s), said[0])}"
    except (OSError, subprocess.TimeoutExpired, MaamError) as error:
        return False, str(error)
    return True, str(built)


def _cpu() -> bytes:
    """Model and instruction sets of the first processor."""
    names = (b"model name", b"flags", b"Features")
    lines = _CPU_FACTS.read_bytes().split(b"\n\n")[0].splitlines()
    return b"\n".join(line for line in lines if line.startswith(names))
