"""Convolution that trains faster on a CPU than MindSpore's own: ``convolution.cc``."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from maam.mindspore.ops import aot

KERNELS = (1, 3, 5, 7)  # that it can
VECTOR = 16  # numbers; a row of a map is whole vectors, for a 1x1 kernel a map is


class Conv2d(nn.Conv2d):
    """Convolution of stride 1 that keeps height and width.

    Training in float32 uses the native operator where it can, all else MindSpore's.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H, W).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd side length of the kernel.
        groups: the channels fall into so many groups that do not see each other.
        bias: one learnable number per output channel, added.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        same = {"pad_mode": "pad", "padding": kernel_size // 2}
        super().__init__(
            in_channels, out_channels, kernel_size, group=groups, has_bias=bias, **same
        )
        self.native = kernel_size in KERNELS and usable()
        if self.native:
            self.operator = operator()

    def construct(self, x: Tensor) -> Tensor:
        if self.native and self.training and aot.takes(x) and x.shape[1] == self.in_channels:
            line = x.shape[3] * (x.shape[2] if self.kernel_size == (1, 1) else 1)
            if line % VECTOR == 0:
                maps = self.operator(x, self.weight)
                return self.bias_add(maps, self.bias) if self.has_bias else maps
        return super().construct(x)


def is_dense(conv: nn.Cell, stride: int) -> bool:
    """Whether a cell, as it is now, is a dense convolution of odd square kernels, padded by half of
    one, at a stride; with or without a bias.
    """
    return (
        (aot.is_exactly(conv, nn.Conv2d) or aot.is_exactly(conv, Conv2d))
        and conv.group == 1
        and conv.dilation == (1, 1)
        and conv.stride == (stride, stride)
        and conv.kernel_size[0] == conv.kernel_size[1]
        and conv.kernel_size[0] % 2 == 1
        and conv.padding == conv.kernel_size[0] // 2
    )


def usable() -> bool:
    """Whether the operator is there and MindSpore computes on the CPU."""
    return aot.usable("convolution")


def operator() -> ops.Custom:
    """The operator: x (N, C, H, W), w (O, C / groups, k, k) -> (N, O, H, W), with gradients.

    Both float32; k is 3, 5 or 7 and W a multiple of 16, or k is 1 and H * W is. Only where it is
    usable.
    """
    library = aot.library("convolution")

    def shape(x, w):
        return [x[0], w[0], x[2], x[3]]

    def like_x(x, w, dy=None):
        return x

    def like_w(x, w, dy):
        return w

    # Two operators, so that a graph can drop the gradient of the image.
    to_x = aot.operator(f"{library}:ConvolutionGradInput", like_x, like_x, "aot")
    to_w = aot.operator(f"{library}:ConvolutionGradWeight", like_w, like_w, "aot")

    def bprop(x, w, out, dout):
        return to_x(x, w, dout), to_w(x, w, dout)

    return aot.operator(f"{library}:Convolution", shape, like_x, "aot", bprop=bprop)
