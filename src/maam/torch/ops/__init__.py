"""Gradients of our own in PyTorch; each falls back on PyTorch's where they can't serve."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._C import (
    _are_functorch_transforms_active,  # pyright: ignore[reportAttributeAccessIssue]
    _len_torch_dispatch_stack,  # pyright: ignore[reportAttributeAccessIssue]
)
from torch.autograd import forward_ad


def takes(x: Tensor) -> bool:
    """Whether an operator of ours may take this input: on a CPU, and differentiated backward only.

    What records or rewrites a computation knows PyTorch's operators alone: ``torch.compile``,
    ``torch.fx``, ``torch.jit``, ``torch.func``, forward-mode differentiation, modes that see every
    operator, and kinds of tensors that hold no numbers.
    """
    return (
        type(x) is Tensor
        and x.device.type == "cpu"
        and x.numel() > 0
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        and not _are_functorch_transforms_active()
        and not _len_torch_dispatch_stack()
        and forward_ad._current_level < 0
    )
