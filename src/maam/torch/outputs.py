"""What each layer of a network puts out, to find where an export parts from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn


def layer_outputs(net: nn.Module, images: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Name and output of each layer that has no layers in it, in the order of computation.

    Args:
        net: a network in inference mode.
        images: float32 (N, C, H, W), normalised.
    """
    found: list[tuple[str, np.ndarray]] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple, output: Any) -> None:
            if isinstance(output, torch.Tensor):  # copied: the next layer may change it in place
                found.append((name, output.detach().float().cpu().numpy().copy()))

        return hook

    leaves = [(name, each) for name, each in net.named_modules() if not list(each.children())]
    hooks = [module.register_forward_hook(note(name)) for name, module in leaves]
    try:
        with torch.inference_mode():
            device = next((p.device for p in net.parameters()), torch.device("cpu"))
            net(torch.from_numpy(images).to(device))
    finally:
        for hook in hooks:
            hook.remove()
    return found
