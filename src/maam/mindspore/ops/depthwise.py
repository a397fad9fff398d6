"""Depthwise convolution that trains faster on a CPU than MindSpore's own: ``depthwise.cc``."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from maam.mindspore.ops import aot

KERNELS = (3, 5, 7)  # that it can


class DepthwiseConv2d(nn.Conv2d):
    """``nn.Conv2d`` of one kernel a channel, without bias, padded by half a kernel.

    Training in float32 uses the native operator where it can, all else MindSpore's.

    Shapes: (N, channels, H, W) -> (N, channels, H / stride, W / stride), rounded up.

    Args:
        channels: of the input and the output.
        kernel_size: odd side length of the kernel.
        stride: 1 or 2.
    """

    def __init__(self, channels: int, kernel_size: int, stride: int = 1) -> None:
        same = {"pad_mode": "pad", "padding": kernel_size // 2}
        super().__init__(channels, channels, kernel_size, stride, group=channels, **same)
        self.native = kernel_size in KERNELS and usable()
        if self.native:
            self.operator = operator(stride)

    def construct(self, x: Tensor) -> Tensor:
        if self.native and self.training and aot.takes(x):
            return self.operator(x, self.weight)
        return super().construct(x)


def usable() -> bool:
    """Whether the operator is there and MindSpore computes on the CPU."""
    return aot.usable("depthwise")


def operator(stride: int = 1) -> ops.Custom:
    """The operator: x (N, C, H, W), w (C, 1, k, k) -> (N, C, H / stride, W / stride), rounded up,
    with gradients.

    Both float32; k is one of ``KERNELS``, the padding k // 2, the stride 1 or 2. Only where it is
    ``usable``.
    """
    library = aot.library("depthwise")

    def like_x(x, w, dy):
        return x

    def like_w(x, w, dy):
        return w

    def shape(x, w):
        return [*x[:2], *(-(-side // stride) for side in x[2:])]

    def kind(x, w):
        return x

    to_x = aot.operator(f"{library}:DepthwiseGradInput", like_x, like_x, "aot")
    to_w = aot.operator(f"{library}:DepthwiseGradWeight", like_w, like_w, "aot")

    def bprop(x, w, out, dout):
        return to_x(x, w, dout), to_w(x, w, dout)

    result = aot.operator(f"{library}:Depthwise", shape, kind, "aot", bprop=bprop)
    result.add_prim_attr("stride", stride)  # as in normalization.py
    return result
