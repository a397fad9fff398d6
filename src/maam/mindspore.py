"""MindSpore as one of the two frameworks; ``maam.frameworks`` says what that takes."""

from __future__ import annotations

from maam.backend import set_device, set_seed
from maam.benchmark import count_macs, count_parameters
from maam.checkpoint import get_weights, load_model, set_weights
from maam.export import export_onnx
from maam.fuse import fuse
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
    "fuse",
    "get_weights",
    "load_model",
    "set_device",
    "set_seed",
    "set_weights",
]
