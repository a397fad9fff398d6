"""Depthwise convolution whose gradients are quicker on a CPU than PyTorch's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maam.native import build
from maam.torch.ops import takes

_PLACE = "torch", "depthwise"  # its C++ file
_SHAPES = ((3, 2), (5, 1), (5, 2), (7, 1), (7, 2))  # kernel sizes and strides where it is quicker
_TYPES = (torch.float32, torch.bfloat16)


def depthwise(x: Tensor, weight: Tensor, stride: int = 1, quick: bool = False) -> Tensor:
    """Depthwise convolution with zero padding of half a kernel.

    Args:
        x: (N, C, H, W).
        weight: (C, 1, K, K), K odd.
        stride: of both directions.
        quick: take our own gradients where they can serve and are quicker: on a CPU, with a
            compiler. Then it can't be exported.

    Returns:
        (N, C, H / stride, W / stride), rounded up.
    """
    if quick and takes(x) and (weight.shape[-1], stride) in _SHAPES:
        amp = torch.is_autocast_enabled("cpu")
        kind = torch.get_autocast_dtype("cpu") if amp else x.dtype
        alike = amp or weight.dtype == x.dtype
        if alike and kind in _TYPES and build.functions(*_PLACE):
            x = x.to(kind).contiguous(memory_format=torch.channels_last)
            return _Depthwise.apply(x, weight.to(kind), stride)
    return _convolve(x, weight, stride)


class DepthwiseConv2d(nn.Conv2d):
    """``nn.Conv2d`` of one kernel a channel; quicker without bias, padded by half a kernel."""

    native = True  # it has operators of ours

    def forward(self, input: Tensor) -> Tensor:
        if not self._serves():
            return super().forward(input)
        return depthwise(input, self.weight, int(self.stride[0]), quick=self.training)

    def _serves(self) -> bool:
        """Whether ``depthwise`` computes what this layer, as it is now, does."""
        half = self.kernel_size[0] // 2
        return (
            self.bias is None
            and self.kernel_size == (2 * half + 1, 2 * half + 1)
            and self.stride[0] == self.stride[1]
            and self.padding == (half, half)
            and self.dilation == (1, 1)
            and self.padding_mode == "zeros"
        )


def _convolve(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, weight.shape[0])


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return _convolve(x, weight, stride)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # who asks for a graph of the gradients differentiates again
            return *_stock_gradients(x, weight, gradients[0], ctx.stride), None
        sizes = (*x.shape, ctx.stride, weight.shape[-1])
        dy = gradients[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        values = weight.permute(2, 3, 0, 1).float().contiguous()
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x)
            _call("depthwise_input", sizes, dy, values, dx)
        if ctx.needs_input_grad[1]:
            sums = torch.empty_like(values)
            _call("depthwise_weight", sizes, x, dy, sums)
            dw = sums.permute(2, 3, 0, 1).to(weight.dtype)
        return dx, dw, None


def _stock_gradients(
    x: Tensor, weight: Tensor, dy: Tensor, stride: int
) -> tuple[Tensor | None, Tensor | None]:
    """PyTorch's own gradients, which can be differentiated."""
    y = _convolve(x, weight, stride)
    inputs = [t for t in (x, weight) if t.requires_grad]
    grads = iter(torch.autograd.grad(y, inputs, dy.to(y.dtype), create_graph=True))
    dx, dw = (next(grads) if t.requires_grad else None for t in (x, weight))
    return dx, dw


def _call(name: str, sizes: tuple[int, ...], first: Tensor, *others: Tensor) -> None:
    sizes = (*sizes, torch.get_num_threads())
    addresses = [tensor.data_ptr() for tensor in (first, *others)]
    build.call(_PLACE, name, sizes, first.dtype == torch.bfloat16, addresses)
