"""maam in PyTorch, for CUDA and CPU: the same models, parameters, weight files and recipes.

``maam.torch.MAAM`` is a layer for any PyTorch network; ``maam.torch.load_model`` reads a run that
either framework has trained. ``maam.frameworks`` says what the other functions are for.
"""

from __future__ import annotations

from maam.backend import limit_onednn
from maam.torch.backend import set_device, set_seed
from maam.torch.benchmark import count_macs, count_parameters
from maam.torch.checkpoint import get_weights, load_model, set_weights
from maam.torch.export import export_onnx
from maam.torch.fuse import fuse
from maam.torch.loop import fit
from maam.torch.models import create_model
from maam.torch.module import MAAM, AgentBlock, AgentFusion, Reduce
from maam.torch.step import compute_logits, freeze

__all__ = [
    "MAAM",
    "AgentBlock",
    "AgentFusion",
    "Reduce",
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

limit_onednn(False)  # before PyTorch computes anything
