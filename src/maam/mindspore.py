"""MindSpore as one of the two frameworks; ``maam.frameworks`` says what that takes."""

from __future__ import annotations

from maam.backend import set_device, set_seed
from maam.benchmark import count_macs, count_parameters
from maam.checkpoint import load_model
from maam.export import export_onnx
from maam.loop import fit
from maam.models import create_model
from maam.step import compute_logits, freeze

__all__ = [
    "compute_logits",
    "count_macs",
    "count_parameters",
    "create_model",
    "export_onnx",
    "fit",
    "freeze",
    "load_model",
    "set_device",
    "set_seed",
]
