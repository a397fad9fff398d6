"""Weights in MindSpore: read from networks, and set, by the names that weight files have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from maam.core.tensors import check_tensors


def read_tensors(parameters: Iterable[Parameter], prefix: str = "") -> dict[str, np.ndarray]:
    """Copies of parameters by name; a plain ``asnumpy`` would alias the live weights."""
    return {prefix + p.name: np.array(p.asnumpy()) for p in parameters}


def assign_tensors(
    parameters: Iterable[Parameter], tensors: Mapping[str, np.ndarray], source: str
) -> None:
    """Set every parameter from the array of its name.

    Raises:
        MaamError: as ``check_tensors``; nothing has been changed then.
    """
    targets = {p.name: p for p in parameters}
    check_tensors({name: target.shape for name, target in targets.items()}, tensors, source)
    for name, target in targets.items():
        # load_param_into_net and set_data are ignored by graphs that are compiled already.
        ops.assign(target, Tensor(tensors[name], target.dtype))


def get_weights(net: nn.Cell) -> dict[str, np.ndarray]:
    """Copies of all parameters and statistics by name."""
    return read_tensors(net.get_parameters())


def set_weights(net: nn.Cell, tensors: Mapping[str, np.ndarray], source: str) -> None:
    """Set all parameters and statistics.

    Raises:
        MaamError: as ``check_tensors``; nothing has been changed then.
    """
    assign_tensors(net.get_parameters(), tensors, source)


def head(net: nn.Cell) -> nn.Cell:
    """The last layer, which knows the classes: the attribute ``classifier`` of every model.

    Of others, the last cell that has parameters, in ``classifier`` if there is one.
    """
    within = getattr(net, "classifier", net)
    layers = [cell for _, cell in within.cells_and_names() if cell.parameters_dict(recurse=False)]
    return layers[-1]


def head_names(net: nn.Cell) -> set[str]:
    """The names, in weight files, of the last layer's parameters."""
    return {parameter.name for parameter in head(net).get_parameters()}
