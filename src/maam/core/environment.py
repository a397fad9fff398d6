"""Facts about the machine, and the variables that MindSpore reads when it is imported.

Collecting facts imports no framework and compiles nothing.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from maam.core.errors import MaamError

PACKAGES = (
    "numpy",
    "pillow",
    "onnxruntime",
    "mindspore",
    "torch",
    "scikit-learn",
    "matplotlib",
    "onnx",
)
CGROUP, _MEMORY = Path("/sys/fs/cgroup"), ("max", "current", "stat")
PARSER = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"

_set_here: set[str] = set()  # variables that are not the user's


def prepare_mindspore() -> None:
    """Set what MindSpore reads when it is imported; a value that the user has set stays.

    - ``ONEDNN_MAX_CPU_ISA``, see ``limit_onednn``.
    - ``PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python``, which MindSpore asks for.
    - ``GLOG_v=3``: errors only.
    - ``MS_OM_PATH``, ``MS_COMPILER_CACHE_PATH``: dumps go to the temporary folder,
      not to the working directory.

    Raises:
        MaamError: protobuf's compiled parser was loaded before, beside which MindSpore 2.7 aborts
            the interpreter.
    """
    _check_parser()
    user = os.getuid() if hasattr(os, "getuid") else "user"
    scratch = str(Path(tempfile.gettempdir()) / f"maam-mindspore-{user}")
    prepare_onnx()
    limit_onednn(True)
    os.environ.setdefault("GLOG_v", "3")
    os.environ.setdefault("MS_OM_PATH", scratch)
    os.environ.setdefault("MS_COMPILER_CACHE_PATH", scratch)


def prepare_onnx() -> None:
    """Before ``onnx`` is imported: let it load the parser that MindSpore can live beside.

    Where MindSpore is not installed, and where the user has chosen a parser, nothing changes.
    """
    if mindspore_version():
        os.environ.setdefault(PARSER, "python")


def _check_parser() -> None:
    """See ``prepare_mindspore``."""
    loaded = sys.modules.get("google.protobuf.internal.api_implementation")
    if loaded is None or "mindspore" in sys.modules or mindspore_version() > (2, 7):
        return
    if loaded.Type() != "python":
        raise MaamError(
            "protobuf is loaded already, perhaps by `import onnx`, and MindSpore 2.7 can't be "
            f"imported beside its compiled parser: set {PARSER}=python before Python starts, or "
            "import maam.mindspore first"
        )


def limit_onednn(limit: bool) -> None:
    """Hold oneDNN to AVX2 where MindSpore is going to compute, and let it go for PyTorch.

    The oneDNN of MindSpore 2.9 and later picks a reference kernel for 3x3 convolutions on AVX-512
    machines, about 100 times slower; older ones ignore the variable. PyTorch's would obey it too,
    and lose bfloat16's instructions. Each reads it when it first computes. A user's value stays.
    """
    name, value = "ONEDNN_MAX_CPU_ISA", "AVX2"
    if limit and mindspore_version() >= (2, 9) and name not in os.environ:
        os.environ[name] = value
        _set_here.add(name)
    elif not limit and name in _set_here:
        _set_here.discard(name)
        os.environ.pop(name, None)


def mindspore_version() -> tuple[int, ...]:
    """(major, minor); () when it is not installed. Does not import it."""
    try:
        return tuple(int(part) for part in metadata.version("mindspore").split(".")[:2])
    except metadata.PackageNotFoundError:
        return ()


def keep_memory() -> None:
    """Let glibc keep freed memory, for either framework on a CPU.

    By itself it returns every large array to the system; PyTorch spends a quarter of a training
    step on getting it back (results/framework_speed.json: default malloc).
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(-4, 0)  # M_MMAP_MAX: no array is mapped for itself
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: the heap is not cut off


def environment() -> dict[str, str]:
    """Versions and machine, as written beside every result."""
    versions = {
        "python": platform.python_version(),
        "platform": platform.system(),
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "cores": str(os.cpu_count()),
        "threads": os.environ.get("OMP_NUM_THREADS") or str(usable_cores()),
        "ONEDNN_MAX_CPU_ISA": os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
        "maam": sys.modules["maam"].__version__,
    }
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    if torch := sys.modules.get("torch"):
        versions["torch"] = str(torch.__version__)  # with the build, such as +cpu or +cu132
        if torch.cuda.is_available():
            versions["gpu"] = torch.cuda.get_device_name()
    return versions


def free_memory() -> int | None:
    """Bytes that this process could take without swapping; None where the system doesn't say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration, ValueError):
        return None
    try:  # a container may have less
        most, now, stat = ((CGROUP / f"memory.{name}").read_text().strip() for name in _MEMORY)
        if most == "max":
            return free
        counts = dict(line.split() for line in stat.splitlines())
        kept = int(counts["inactive_file"]) + int(counts["active_file"])  # given up when needed
        return min(free, max(0, int(most) - int(now) + kept))
    except (OSError, ValueError, KeyError):
        return free


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_name() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
