"""Gradients of our own in PyTorch; each falls back on PyTorch's where they can't serve."""

from __future__ import annotations

from torch import Tensor
from torch._C import _are_functorch_transforms_active  # pyright: ignore[reportAttributeAccessIssue]
from torch.autograd import forward_ad
from torch.compiler import is_compiling


def takes(x: Tensor) -> bool:
    """Whether an operator of ours may take this input: on a CPU, and differentiated backward only.

    ``torch.compile``, ``torch.func`` and forward-mode differentiation know PyTorch's operators.
    """
    return (
        x.device.type == "cpu"
        and x.numel() > 0
        and not is_compiling()
        and not _are_functorch_transforms_active()
        and forward_ad._current_level < 0
    )
