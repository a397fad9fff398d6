"""What can compute a trained network on this machine: one file a runtime, one registry.

A new runtime is a class with what ``base.Runtime`` asks for, and a row here. A file imports its
library when it is started, never before.
"""

from __future__ import annotations

from collections.abc import Sequence

from maam.core.errors import MaamError
from maam.deploy.runtimes.base import Model, Precision, Runtime, Session
from maam.deploy.runtimes.c_kernels import CKernels
from maam.deploy.runtimes.onnx_runtime import OnnxRuntime
from maam.deploy.runtimes.openvino import OpenVino
from maam.deploy.runtimes.training_framework import TrainingFramework

RUNTIMES: dict[str, Runtime] = {
    "onnx": OnnxRuntime("float32"),
    "onnx-int8": OnnxRuntime("int8"),
    "openvino": OpenVino("float32"),
    "openvino-int8": OpenVino("int8"),
    "c": CKernels("float32"),
    "c-int8": CKernels("int8"),
    "torch": TrainingFramework("torch"),
    "mindspore": TrainingFramework("mindspore"),
}

__all__ = ["RUNTIMES", "Model", "Precision", "Runtime", "Session", "available"]


def available(names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The runtimes that this machine has.

    Args:
        names: those that are wanted; all that there are if empty.

    Returns:
        Their names; and of those that were not asked for by name, why they are not here.

    Raises:
        MaamError: one that is wanted is unknown or not here.
    """
    for name in names:
        if name not in RUNTIMES:
            raise MaamError(f"`runtimes={name}` is none of {', '.join(RUNTIMES)}")
        if reason := RUNTIMES[name].unavailable():
            raise MaamError(f"`runtimes={name}`: {reason}")
    reasons = {name: runtime.unavailable() for name, runtime in RUNTIMES.items()}
    chosen = list(dict.fromkeys(names)) or [name for name in RUNTIMES if not reasons[name]]
    return chosen, {} if names else {name: text for name, text in reasons.items() if text}
