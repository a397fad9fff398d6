"""What each layer of a network puts out, to find where an export parts from it."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn


def layer_outputs(net: nn.Cell, images: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Name and output of each layer that has no layers in it, in the order of computation.

    Args:
        net: a network for which ``set_train(False)`` holds.
        images: float32 (N, C, H, W), normalised.
    """
    found: list[tuple[str, np.ndarray]] = []

    def note(name: str) -> Any:
        def hook(cell: nn.Cell, inputs: tuple, output: Any) -> Any:
            if isinstance(output, Tensor):
                found.append((name, output.asnumpy().astype(np.float32)))
            return output

        return hook

    mode = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)  # a compiled network calls no hooks
    leaves = [(name, cell) for name, cell in net.cells_and_names() if not cell.cells()]
    hooks = [cell.register_forward_hook(note(name)) for name, cell in leaves]
    try:
        net(Tensor(images))
    finally:
        for hook in hooks:
            hook.remove()
        ms.set_context(mode=mode)
    return found
