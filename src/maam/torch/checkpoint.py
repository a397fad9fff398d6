"""Weight files in PyTorch: the names and conventions of MindSpore, translated in this one place.

| MindSpore, and every weight file | PyTorch |
|---|---|
| BatchNorm gamma, beta | weight, bias |
| BatchNorm moving_mean, moving_variance | running_mean, running_var |
| - | num_batches_tracked (not kept: it only matters without a momentum) |

All other names are equal, and so is epsilon (1e-5). MindSpore's momentum 0.9 is PyTorch's 0.1, the
default of both; both keep the unbiased variance of a batch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maam.checkpoint import BEST, check_tensors, load_tensors, model_shape, read_meta
from maam.shipped import find_run
from maam.torch.backend import place
from maam.torch.models import create_model

_OF_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def named_tensors(net: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """The live parameters and statistics of a network, by their names in a weight file."""
    found = {}
    for path, module in net.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if isinstance(module, nn.BatchNorm2d):
            own |= dict(module.named_buffers(recurse=False))
            own = {_OF_NORM[name]: own[name] for name in _OF_NORM}
        found |= {".".join(filter(None, (path, name))): tensor for name, tensor in own.items()}
    return {prefix + name: tensor for name, tensor in found.items()}


def read_tensors(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Copies of tensors as arrays."""
    return {
        name: np.array(tensor.detach().cpu().numpy(), order="C") for name, tensor in tensors.items()
    }


def assign_tensors(
    targets: Mapping[str, Tensor], arrays: Mapping[str, np.ndarray], source: str
) -> None:
    """Set every tensor from the array of its name.

    Raises:
        MaamError: a name is missing or left over, a shape differs, or a value is not finite.
            Nothing has been changed then.
    """
    shapes = {name: tuple(target.shape) for name, target in targets.items()}
    check_tensors(shapes, arrays, source)
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(torch.from_numpy(np.array(arrays[name])))


def get_weights(net: nn.Module) -> dict[str, np.ndarray]:
    """Copies of all parameters and statistics by name."""
    return read_tensors(named_tensors(net))


def set_weights(net: nn.Module, arrays: Mapping[str, np.ndarray], source: str) -> None:
    """Set all parameters and statistics.

    Raises:
        MaamError: as ``assign_tensors``; nothing has been changed then.
    """
    assign_tensors(named_tensors(net), arrays, source)


def load_model(run: str | os.PathLike[str]) -> tuple[nn.Module, dict[str, Any]]:
    """The trained network of a run folder or shipped model, ready for inference, and its facts.

    Either framework may have trained it. The network is on the device of ``set_device``.

    Example:
        >>> net, meta = maam.torch.load_model("runs/digits-maam")

    Raises:
        MaamError: it is no run folder, or its weights are damaged or of another model.
    """
    run = find_run(run)
    meta = read_meta(run)
    net = create_model(*model_shape(meta))
    if meta.get("fused"):
        from maam.torch.fuse import fuse

        net = fuse(net)
    arrays, _ = load_tensors(run / BEST)
    set_weights(net, arrays, str(run / BEST))
    return place(net).eval(), meta
