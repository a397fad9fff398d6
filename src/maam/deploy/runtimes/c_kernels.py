"""Our own kernels in C, compiled for this very processor; see ``maam.deploy.c``."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np

from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.data.preprocessing import Preprocessing
from maam.deploy import c
from maam.deploy.c.block import Block, make_block
from maam.deploy.int8_file import read_int8
from maam.deploy.reading import read_layers
from maam.deploy.runtimes.base import Model, Precision, Session
from maam.native.build import compiled

_HERE = Path(c.__file__).parent
_SOURCES = tuple(_HERE / f"maam_{name}.c" for name in ("nn", "int8", "float32"))
_HEADERS = tuple(sorted(_HERE.glob("*.h")))


class CKernels:
    """A run as a block of constants, as ``maam export --format c`` writes it; image by image."""

    title = "our C"
    most_threads: int | None = 1

    def __init__(self, precision: Precision) -> None:
        self.precision: Precision = precision

    def unavailable(self) -> str:
        ready, detail = _library()
        return "" if ready else f"{detail}: install a C compiler, such as gcc"

    def lacks(self, model: Model) -> str:
        if model.alone or model.run is None:
            return "a file, not a run folder"
        if self.precision == "int8" and not model.run.int8.is_file():
            return f"it has no {model.run.int8.name}: `maam quantize {model.name}` makes it"
        try:
            _block(model.run, self.precision, model.preprocessing)
        except MaamError as error:
            return str(error)
        return ""

    def start(self, threads: int) -> None:
        _library()

    def load(self, model: Model, threads: int) -> Session:
        assert model.run is not None
        block = _block(model.run, self.precision, model.preprocessing)
        return Session(np.ascontiguousarray, runner(block), block.head["bytes"])


def runner(block: Block) -> Callable[[np.ndarray], np.ndarray]:
    """A function of images uint8 (N, H, W, C): their logits, float32 (N, K).

    Raises:
        MaamError: the kernels can't be compiled.
    """
    ready, path = _library()
    if not ready:
        raise MaamError(f"our C can't be compiled: {path}")
    function = getattr(ctypes.CDLL(path), f"maam_run_{block.precision}")
    number = ctypes.c_int16 if block.precision == "int8" else ctypes.c_float
    function.restype = ctypes.POINTER(number)
    function.argtypes = [ctypes.c_void_p] * 3
    constants = np.frombuffer(block.to_bytes(), np.uint8).copy()
    arena = np.zeros(block.head["arena_bytes"] // 8 + 1, np.float64)  # which aligns it
    classes, scale = block.head["classes"], np.float32(block.logit_scale)

    def run(images: np.ndarray) -> np.ndarray:
        logits = np.empty((len(images), classes), np.float32)
        for row, image in zip(logits, images, strict=True):
            made = function(constants.ctypes.data, image.ctypes.data, arena.ctypes.data)
            row[:] = np.ctypeslib.as_array(made, (classes,))
        return scale * logits

    return run


def _library() -> tuple[bool, str]:
    return compiled("c-kernels", _SOURCES, _HEADERS, "C")


def _block(run: RunFolder, precision: Precision, preprocessing: Preprocessing) -> Block:
    network = read_int8(run) if precision == "int8" else read_layers(run)
    return make_block(network, preprocessing)
