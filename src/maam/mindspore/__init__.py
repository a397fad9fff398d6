"""maam in MindSpore: the networks, their training, and all that ``core.frameworks.Backend`` asks.

``maam.MAAM`` and its like are from here. ``maam.torch`` mirrors it, file by file and name by name.
"""

from __future__ import annotations

from maam.core.environment import prepare_mindspore

prepare_mindspore()  # before MindSpore is imported, which reads its variables then

from maam.mindspore.cost import count_macs, count_parameters, footprint  # noqa: E402
from maam.mindspore.explanation import class_maps  # noqa: E402
from maam.mindspore.fold import foldable, fuse, register_fold  # noqa: E402
from maam.mindspore.load import load_model  # noqa: E402
from maam.mindspore.loop import fit  # noqa: E402
from maam.mindspore.maam import MAAM, AgentBlock, AgentFusion, Reduce  # noqa: E402
from maam.mindspore.models import check_model, create_model  # noqa: E402
from maam.mindspore.onnx import export_model, export_onnx  # noqa: E402
from maam.mindspore.outputs import layer_outputs  # noqa: E402
from maam.mindspore.runtime import (  # noqa: E402
    join_ranks,
    leave_ranks,
    native_operators,
    rank,
    set_device,
    set_seed,
    sum_over_ranks,
    world_size,
)
from maam.mindspore.step import (  # noqa: E402
    compute_logits,
    freeze,
    inference,
    register_optimizer,
)
from maam.mindspore.timing import time_step  # noqa: E402
from maam.mindspore.weights import get_weights, head_names, set_weights  # noqa: E402

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
