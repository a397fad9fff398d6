"""maam in PyTorch, for CUDA and CPU: the same models, parameters, weight files and recipes.

``maam.torch.MAAM`` is a layer for any PyTorch network; ``maam.torch.load_model`` reads a run that
either framework has trained. ``core.frameworks.Backend`` says what the other functions are for.
"""

from __future__ import annotations

from maam.core.environment import limit_onednn
from maam.core.frameworks import require_framework

require_framework("torch")

from maam.torch.cost import count_macs, count_parameters, footprint  # noqa: E402
from maam.torch.explanation import class_maps  # noqa: E402
from maam.torch.fold import foldable, fuse, register_fold  # noqa: E402
from maam.torch.load import load_model  # noqa: E402
from maam.torch.loop import fit  # noqa: E402
from maam.torch.maam import MAAM, AgentBlock, AgentFusion, Reduce  # noqa: E402
from maam.torch.models import check_model, create_model  # noqa: E402
from maam.torch.onnx import export_model, export_onnx  # noqa: E402
from maam.torch.outputs import layer_outputs  # noqa: E402
from maam.torch.runtime import (  # noqa: E402
    join_ranks,
    leave_ranks,
    native_operators,
    rank,
    set_device,
    set_seed,
    sum_over_ranks,
    world_size,
)
from maam.torch.step import (  # noqa: E402
    compute_logits,
    freeze,
    inference,
    register_optimizer,
)
from maam.torch.timing import time_step  # noqa: E402
from maam.torch.weights import get_weights, head_names, set_weights  # noqa: E402

__all__ = [
    "MAAM",
    "AgentBlock",
    "AgentFusion",
    "Reduce",
    "check_model",
    "class_maps",
    "compute_logits",
    "count_macs",
    "count_parameters",
    "create_model",
    "export_model",
    "export_onnx",
    "fit",
    "foldable",
    "footprint",
    "freeze",
    "fuse",
    "get_weights",
    "head_names",
    "inference",
    "join_ranks",
    "layer_outputs",
    "leave_ranks",
    "load_model",
    "native_operators",
    "rank",
    "register_fold",
    "register_optimizer",
    "set_device",
    "set_seed",
    "set_weights",
    "sum_over_ranks",
    "time_step",
    "world_size",
]

limit_onednn(False)  # before PyTorch computes anything
