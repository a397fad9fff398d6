"""OpenVINO, of Intel, on the same ONNX files; the extra ``openvino``."""

from __future__ import annotations

from typing import Any

import numpy as np

from maam.core.frameworks import install, installed
from maam.deploy.onnx import LOGITS, Network
from maam.deploy.runtimes.base import Model, Precision, Session
from maam.deploy.runtimes.onnx_runtime import lacking_file, to_colour


class OpenVino:
    """The ONNX file of a precision, compiled for the processor."""

    title = "OpenVINO"
    most_threads: int | None = None

    def __init__(self, precision: Precision) -> None:
        self.precision: Precision = precision

    def unavailable(self) -> str:
        return "" if installed("openvino") else f"openvino is not installed: {install('openvino')}"

    def lacks(self, model: Model) -> str:
        return lacking_file(model, self.precision)

    def start(self, threads: int) -> None:
        import openvino  # noqa: F401  # pyright: ignore[reportMissingImports]

    def load(self, model: Model, threads: int) -> Session:
        import openvino  # pyright: ignore[reportMissingImports]

        file = model.files[self.precision]
        core = openvino.Core()
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16, where the processor has it
        }
        whole = Network(file).whole
        requests: dict[tuple[int, ...], Any] = {}

        def run(images: np.ndarray) -> np.ndarray:
            if images.shape not in requests:  # compiled for a fixed shape, it is faster
                network = core.read_model(file)
                network.reshape(list(images.shape))
                compiled = core.compile_model(network, "CPU", options)
                requests[images.shape] = compiled.create_infer_request()
            return requests[images.shape].infer([images])[LOGITS]

        return Session(to_colour if whole else model.preprocessing, run, file.stat().st_size)
