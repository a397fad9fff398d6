"""BatchNorm, and ReLU after it, with gradients quicker than PyTorch's own on a CPU: norm.cc."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from maam import native

_SOURCE = Path(__file__).with_suffix(".cc")
_TYPES = (torch.float32, torch.bfloat16)


class BatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d``, and ReLU if ``relu``.

    Our own gradients serve in training on a CPU, with a compiler, for channels-last maps, unless
    ``torch.compile`` takes the network.

    Shapes: (N, channels, H, W) -> the same.
    """

    def __init__(self, channels: int, relu: bool = False) -> None:
        super().__init__(channels)
        self.relu = relu

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not _quick(input, self.weight):
            maps = super().forward(input)
            return maps.relu() if self.relu else maps
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        statistics = self.running_mean, self.running_var, self.momentum, self.eps
        return _Norm.apply(input, self.weight, self.bias, *statistics, self.relu)


def _quick(x: Tensor, gamma: Tensor) -> bool:
    """Whether our own gradients can serve, and are quicker."""
    return (
        x.device.type == "cpu"
        and x.dtype in _TYPES
        and gamma.dtype == torch.float32
        and x.numel() > x.shape[1]
        and x.is_contiguous(memory_format=torch.channels_last)
        and not torch.compiler.is_compiling()
        and native.functions(_SOURCE) is not None
    )


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, *statistics: Any) -> Tensor:
        mean, variance, momentum, epsilon, relu = statistics
        y, mean, scale = torch.native_batch_norm(
            x, gamma, beta, mean, variance, True, momentum, epsilon
        )
        ctx.save_for_backward(x, torch.stack([mean, scale, gamma, beta]))
        ctx.relu = relu
        return y.relu_() if relu else y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, norm = ctx.saved_tensors
        dy = gradients[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        dx, sums = torch.empty_like(x), torch.empty_like(norm[:2])
        channels = x.shape[1]
        sizes = (x.numel() // channels, channels, ctx.relu, torch.get_num_threads())
        addresses = [tensor.data_ptr() for tensor in (x, dy, norm, dx, sums)]
        native.call(_SOURCE, "norm_gradient", sizes, x.dtype == torch.bfloat16, addresses)
        return dx, *sums, None, None, None, None, None
