"""ONNX Runtime: what ``maam predict`` computes with."""

from __future__ import annotations

import numpy as np

from maam.deploy.onnx import Network
from maam.deploy.runtimes.base import Model, Precision, Session


class OnnxRuntime:
    """The ONNX file of a precision: ``model.onnx`` or ``model-int8.onnx`` of a run folder."""

    title = "ONNX Runtime"
    most_threads: int | None = None

    def __init__(self, precision: Precision) -> None:
        self.precision: Precision = precision

    def unavailable(self) -> str:
        return ""  # every installation of maam has it

    def lacks(self, model: Model) -> str:
        return lacking_file(model, self.precision)

    def start(self, threads: int) -> None:
        import onnxruntime  # noqa: F401

    def load(self, model: Model, threads: int) -> Session:
        file = model.files[self.precision]
        network = Network(file, threads)
        prepare = to_colour if network.whole else model.preprocessing
        return Session(prepare, network, file.stat().st_size)


def to_colour(images: np.ndarray) -> np.ndarray:
    """What the file of a run takes: uint8 (N, H, W, 1 or 3) -> uint8 (N, H, W, 3)."""
    return np.ascontiguousarray(np.broadcast_to(images, (*images.shape[:3], 3)))


def lacking_file(model: Model, precision: Precision) -> str:
    """Why there is no ONNX file of a precision; empty if there is one."""
    if precision in model.files:
        return ""
    if model.alone or model.run is None:
        return f"a file that is not {precision}"
    if precision == "int8":
        return f"it has no {model.run.int8_model.name}: `maam quantize {model.name}` makes it"
    return f"it has no {model.run.model.name}"
