"""One operator for what follows a convolution in training: BatchNorm, pooling, ReLU, weighted sum.

The paper's "FusedOp" (equation 9), real, for MindSpore on a CPU. ``epilogue.cc`` is compiled for
the very machine when the first network is built, and kept in the cache folder. Where that is not
possible, or MAAM_EPILOGUE=0 is set, networks use the plain operators: the same results but for
rounding, slower.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from maam.data.places import cache_dir
from maam.errors import MaamError
from maam.files import atomic_path

if TYPE_CHECKING:
    from mindspore import ops

_SOURCE = Path(__file__).with_name("epilogue.cc")
_OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fopenmp-simd", "-pthread", "-shared", "-fPIC")
_CPU_FACTS = Path("/proc/cpuinfo")
_SECONDS = 120


def status() -> tuple[bool, str]:
    """Whether the operator is there for training on a CPU: its file, or why not.

    Builds it if need be, once, in seconds. Imports no framework.
    """
    if os.environ.get("MAAM_EPILOGUE") == "0":
        return False, "turned off by MAAM_EPILOGUE=0"
    return _library(cache_dir())


def usable() -> bool:
    """Whether the operator is there and MindSpore computes on the CPU."""
    import mindspore as ms

    return ms.get_context("device_target") == "CPU" and status()[0]


def operator(pool: bool) -> ops.Custom:
    """The operator; only where it is ``usable``.

    It takes x (N, A * C, H, W), gamma and beta (A * C,), and weights (A,), all float32, and gives
    y (N, C, H, W) and the batch's mean and biased variance (A * C,), where

        y[n, c] = sum over a of weights[a] * relu(pool(norm(x[n, a * C + c])))

    It has gradients for all four inputs; those of mean and variance do not flow back.

    Args:
        pool: 2x2 max pooling: y is (N, C, H // 2, W // 2).
    """
    from mindspore import ops

    _, library = status()
    shrink = 2 if pool else 1

    def like_inputs(x, gamma, beta, weights, mean, variance, dy):
        return x, gamma, beta, weights

    def shapes(x, gamma, beta, weights):
        y = [x[0], x[1] // weights[0], x[2] // shrink, x[3] // shrink]
        return y, gamma, gamma

    def types(x, gamma, beta, weights):
        return x, gamma, gamma

    gradient = ops.Custom(f"{library}:EpilogueGrad", like_inputs, like_inputs, "aot")

    def bprop(x, gamma, beta, weights, out, dout):
        return gradient(x, gamma, beta, weights, out[1], out[2], dout[0])

    fused = ops.Custom(f"{library}:Epilogue", shapes, types, "aot", bprop=bprop)
    fused.add_prim_attr("pool", pool)  # MindSpore takes operators of equal attributes for the same
    return fused


@cache
def _library(folder: Path) -> tuple[bool, str]:
    """The compiled file in ``folder``, built unless it is there; or (False, the reason)."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if not compiler:
        return False, "no C++ compiler (c++ or g++) on the PATH"
    try:
        version = subprocess.run(
            [compiler, "--version"], capture_output=True, check=True, timeout=_SECONDS
        ).stdout
        key = hashlib.sha256(
            b"\0".join([_SOURCE.read_bytes(), " ".join(_OPTIONS).encode(), version, _cpu()])
        )
        library = folder / f"epilogue-{key.hexdigest()[:16]}.so"
        if not library.exists():
            library.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(library) as temporary:  # two processes may build at once
                command = [compiler, *_OPTIONS, "-o", str(temporary), str(_SOURCE)]
                subprocess.run(command, capture_output=True, check=True, timeout=_SECONDS)
        ctypes.CDLL(str(library)).EpilogueGrad  # noqa: B018 - can it be loaded?
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        return False, f"{compiler} failed: {said[0]}"
    except (OSError, AttributeError, subprocess.TimeoutExpired, MaamError) as error:
        return False, str(error)
    return True, str(library)


def _cpu() -> bytes:
    """Model and instruction sets of the first processor."""
    names = (b"model name", b"flags", b"Features")
    lines = _CPU_FACTS.read_bytes().split(b"\n\n")[0].splitlines()
    return b"\n".join(line for line in lines if line.startswith(names))
