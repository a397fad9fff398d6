"""A run's ONNX file where a framework could stand: what scoring takes, on ONNX Runtime."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from maam.core.errors import MaamError
from maam.core.frameworks import Device
from maam.core.run_meta import RunMeta
from maam.data.base import Split
from maam.data.preprocessing import Preprocessing
from maam.deploy.classifier import Classifier


def set_device(device: str, mode: str = "auto") -> Device:
    """The CPU, which is all that ONNX Runtime has here.

    Raises:
        MaamError: another one is asked for.
    """
    if device not in ("auto", "CPU"):
        raise MaamError(
            f"`device={device}`: an ONNX file is computed on the CPU: name `framework` too, and a "
            "run folder"
        )
    return Device("CPU")


def load_model(run: str | os.PathLike[str], model: Any = None) -> tuple[Classifier, RunMeta]:
    """The classifier of a run folder, a shipped model or the ONNX file of a run.

    Raises:
        MaamError: it is none, or damaged; or ``model`` is given, which a file does not take.
    """
    if model is not None:
        raise MaamError("`framework=onnx` scores a file: leave out `model`")
    classifier = Classifier.load(run)
    return classifier, classifier.meta


def compute_logits(
    net: Classifier, split: Split, preprocessing: Preprocessing, batch_size: int = 250
) -> np.ndarray:
    """The logits of a split, in order: float32 (N, K).

    Args:
        net: the classifier.
        split: images of its size.
        preprocessing: not asked for: the file has its own.
        batch_size: images at a time; does not change the result.
    """
    return np.concatenate([net.logits(images) for images, _ in split.batches(batch_size)])
