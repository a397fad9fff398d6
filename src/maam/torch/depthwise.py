"""Depthwise convolution whose gradients are quicker on a CPU than PyTorch's own: depthwise.cc."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from maam import native

_SOURCE = Path(__file__).with_name("depthwise.cc")
_SHAPES = ((3, 2), (5, 1), (5, 2), (7, 1), (7, 2))  # kernel sizes and strides where it is quicker
_TYPES = (torch.float32, torch.bfloat16)


def depthwise(x: Tensor, weight: Tensor, stride: int = 1, quick: bool = False) -> Tensor:
    """Depthwise convolution with zero padding of half a kernel.

    Args:
        x: (N, C, H, W).
        weight: (C, 1, K, K), K odd.
        stride: of both directions.
        quick: take our own gradients where they are quicker: on a CPU, with a compiler, unless
            ``torch.compile`` takes the network. Then it can't be exported.

    Returns:
        (N, C, H / stride, W / stride), rounded up.
    """
    amp = torch.is_autocast_enabled("cpu")
    kind = torch.get_autocast_dtype("cpu") if amp else x.dtype
    quick = quick and (weight.shape[-1], stride) in _SHAPES and kind in _TYPES and x.numel() > 0
    quick = quick and not torch.compiler.is_compiling()
    if quick and x.device.type == "cpu" and native.functions(_SOURCE):
        return _Depthwise.apply(x.to(kind), weight.to(kind), stride)
    return _convolve(x, weight, stride)


class DepthwiseConv2d(nn.Conv2d):
    """``nn.Conv2d`` of one kernel a channel, without bias, padded by half a kernel."""

    def forward(self, input: Tensor) -> Tensor:
        return depthwise(input, self.weight, int(self.stride[0]), quick=self.training)


def _convolve(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, weight.shape[0])


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        ctx.sizes = (*x.shape, stride, weight.shape[-1])
        return _convolve(x, weight, stride)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        dy = gradients[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        taps = weight.permute(2, 3, 0, 1).float().contiguous()
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x)
            _call("depthwise_input", ctx.sizes, dy, taps, dx)
        if ctx.needs_input_grad[1]:
            sums = torch.empty_like(taps)
            _call("depthwise_weight", ctx.sizes, x, dy, sums)
            dw = sums.permute(2, 3, 0, 1).to(weight.dtype)
        return dx, dw, None


def _call(name: str, sizes: tuple[int, ...], first: Tensor, *others: Tensor) -> None:
    sizes = (*sizes, torch.get_num_threads())
    addresses = [tensor.data_ptr() for tensor in (first, *others)]
    native.call(_SOURCE, name, sizes, first.dtype == torch.bfloat16, addresses)
