"""A convolution with bias, 2x2 max pooling and ReLU in training, as one operator: ``pooled.cc``."""

from __future__ import annotations

from mindspore import nn, ops

from maam.mindspore.ops import aot, convolution, normalization

CHANNELS = 16  # those of the result are a multiple


def usable() -> bool:
    """Whether the operator is there and MindSpore computes on the CPU."""
    return aot.usable("pooled")


def serves(conv: nn.Cell, pool: nn.Cell, relu: nn.Cell) -> bool:
    """Whether the operator computes what these cells, as they are now, do."""
    return (
        convolution.is_dense(conv, 1)
        and conv.has_bias
        and conv.weight.shape[0] % CHANNELS == 0
        and normalization.halves(pool)
        and aot.is_exactly(relu, nn.ReLU)
    )


def operator(flat: bool = False) -> ops.Custom:
    """The operator; only where its library is usable.

    x (N, H, W, C), w (O, C, k, k), bias (O,), all float32, k odd -> relu(pool(conv(x) + bias)),
    (N, H // 2, W // 2, O), and which of four pixels each number is, with gradients for all inputs.

    Args:
        flat: the result is (N, O * (H // 2) * (W // 2)), channel by channel.
    """
    library = aot.library("pooled")

    def shapes(x, w, bias):
        height, width = x[1] // 2, x[2] // 2
        y = [x[0], w[0] * height * width] if flat else [x[0], height, width, w[0]]
        return y, y

    def types(x, w, bias):
        return x, x

    def like_inputs(x, w, bias, which, dy):
        return x, w, bias

    # Two operators, so that a graph can drop the gradient of an image, of few channels.
    every = aot.operator(f"{library}:PooledGrad", like_inputs, like_inputs, "aot")
    but_input = aot.operator(f"{library}:PooledGradButInput", like_inputs, like_inputs, "aot")

    def bprop(x, w, bias, out, dout):
        known = (x, w, bias, out[1], dout[0])
        grads = every(*known)
        others = grads if x.shape[3] % CHANNELS == 0 else but_input(*known)
        return grads[0], others[1], others[2]

    result = aot.operator(f"{library}:Pooled2x2", shapes, types, "aot", bprop=bprop)
    result.add_prim_attr("flat", flat)  # as in normalization.py
    return result
