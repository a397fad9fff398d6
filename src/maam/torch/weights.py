"""Weight files in PyTorch: the names and conventions of MindSpore, translated in this one place.

| MindSpore, and every weight file | PyTorch |
|---|---|
| BatchNorm gamma, beta | weight, bias |
| BatchNorm moving_mean, moving_variance | running_mean, running_var |
| - | num_batches_tracked (not kept: it only matters without a momentum) |

All other names are equal, and so is epsilon (1e-5). MindSpore's momentum 0.9 is PyTorch's 0.1, the
default of both; both keep the unbiased variance of a batch. All else that ``state_dict`` has of a
network of one's own is kept too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from maam.core.tensors import check_tensors

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_OF_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def named_tensors(net: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """The live parameters and statistics of a network, by their names in a weight file."""
    tensors = {}
    for path, module in net.named_modules():
        own = dict(module.named_parameters(recurse=False))
        own |= {
            name: buffer
            for name, buffer in module.named_buffers(recurse=False)
            if name not in module._non_persistent_buffers_set
        }
        if isinstance(module, NORMS):
            own.pop("num_batches_tracked", None)
            own = {_OF_NORM.get(name, name): tensor for name, tensor in own.items()}
        tensors |= {".".join(filter(None, (path, name))): tensor for name, tensor in own.items()}
    return {prefix + name: tensor for name, tensor in tensors.items()}


def batch_counts(net: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """How many batches each norm has seen whose running statistics are the mean over all of them
    (``momentum=None``), by name. They are no part of a weight file.
    """
    return {
        f"{prefix}{path}.num_batches_tracked": module.num_batches_tracked
        for path, module in net.named_modules()
        if isinstance(module, NORMS)
        and module.momentum is None
        and module.num_batches_tracked is not None
    }


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


def set_weights(net: nn.Module, tensors: Mapping[str, np.ndarray], source: str) -> None:
    """Set all parameters and statistics.

    Raises:
        MaamError: as ``assign_tensors``; nothing has been changed then.
    """
    assign_tensors(named_tensors(net), tensors, source)


def head(net: nn.Module) -> nn.Module:
    """The last layer, which knows the classes: the attribute ``classifier`` of every model.

    Of others, the last module that has parameters, in ``classifier`` if there is one.
    """
    within = getattr(net, "classifier", net)
    layers = [each for each in within.modules() if any(True for _ in each.parameters(False))]
    return layers[-1]


def head_names(net: nn.Module) -> set[str]:
    """The names, in weight files, of the last layer's parameters."""
    own = {id(tensor) for tensor in head(net).parameters()}
    return {name for name, tensor in named_tensors(net).items() if id(tensor) in own}
