"""BatchNorm, and ReLU after it, with gradients quicker than PyTorch's own on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import _has_any_global_hook

from maam.native import build
from maam.torch.ops import takes

_PLACE = "torch", "normalization"  # its C++ file
_TYPES = (torch.float32, torch.bfloat16)


def norm_activation(x: Tensor, norm: nn.Module, activation: nn.Module) -> Tensor:
    """``activation(norm(x))``, with our own gradients where they can serve and are quicker.

    They do for a plain ``nn.BatchNorm2d``, and for ``nn.ReLU`` after it, in training on a CPU, with
    a compiler, for channels-last maps. The modules stay what they are to all who look for them,
    such as ``nn.SyncBatchNorm.convert_sync_batchnorm``.

    Shapes: (N, C, H, W) -> the same.
    """
    if type(norm) is not nn.BatchNorm2d or not _quick(x, norm):
        return activation(norm(x))
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    statistics = norm.running_mean, norm.running_var, norm.momentum, norm.eps
    relu = type(activation) is nn.ReLU and not _watched(activation)
    maps = _Norm.apply(x, norm.weight, norm.bias, *statistics, relu)
    return maps if relu else activation(maps)


def _quick(x: Tensor, norm: nn.BatchNorm2d) -> bool:
    """Whether our own gradients can serve, and are quicker."""
    return (
        norm.training
        and takes(x)
        and not _watched(norm)
        and x.dtype in _TYPES
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and norm.weight.dtype == torch.float32
        and x.numel() > x.shape[1]
        and x.is_contiguous(memory_format=torch.channels_last)
        and build.functions(*_PLACE) is not None
    )


def _watched(module: nn.Module) -> bool:
    """Whether somebody wants to see or to change what goes in, or comes out."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return any(hooks) or bool(_has_any_global_hook()) or "forward" in vars(module)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, *statistics: Any) -> Tensor:
        mean, variance, momentum, epsilon, relu = statistics
        y, mean, scale = torch.native_batch_norm(
            x, gamma, beta, mean, variance, True, momentum, epsilon
        )
        ctx.save_for_backward(x, gamma, beta, mean, scale)
        ctx.relu, ctx.epsilon = relu, epsilon
        return y.relu_() if relu else y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, beta, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled():  # who asks for a graph of the gradients differentiates again
            y = F.batch_norm(x, None, None, gamma, beta, True, 0.0, ctx.epsilon)
            y = y.relu() if ctx.relu else y
            inputs = [t for t in (x, gamma, beta) if t.requires_grad]
            grads = iter(
                torch.autograd.grad(y, inputs, gradients[0].to(y.dtype), create_graph=True)
            )
            firsts = [next(grads) if t.requires_grad else None for t in (x, gamma, beta)]
            return *firsts, None, None, None, None, None
        dy = gradients[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        norm = torch.stack([mean, scale, gamma, beta])
        dx, sums = torch.empty_like(x), torch.empty_like(norm[:2])
        channels = x.shape[1]
        sizes = (x.numel() // channels, channels, ctx.relu, torch.get_num_threads())
        addresses = [tensor.data_ptr() for tensor in (x, dy, norm, dx, sums)]
        build.call(_PLACE, "norm_gradient", sizes, x.dtype == torch.bfloat16, addresses)
        return dx, *sums, None, None, None, None, None
