"""One operator for what follows a convolution in training: BatchNorm, pooling, ReLU, weighted sum.

The paper's "FusedOp" (equation 9), real, for MindSpore on a CPU: ``epilogue.cc`` is compiled when
the first network is built, see ``native.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from maam import native

if TYPE_CHECKING:
    from mindspore import ops

_SOURCE = Path(__file__).with_name("epilogue.cc")


def status() -> tuple[bool, str]:
    """Whether the operator is there for training on a CPU: its file, or why not."""
    return native.library(_SOURCE)


def usable() -> bool:
    """Whether the operator is there and MindSpore computes on the CPU."""
    return native.usable(_SOURCE)


def operator(pool: bool) -> ops.Custom:
    """The operator; only where it is ``usable``.

    It takes x (N, A * C, H, W), gamma and beta (A * C,), and weights (A,), all float32, and gives
    y (N, C, H, W) and the batch's mean and biased variance (A * C,), where

        y[n, c] = sum over a of weights[a] * relu(pool(norm(x[n, a * C + c])))

    It has gradients for all four inputs; those of mean and variance do not flow back.

    Args:
        pool: 2x2 max pooling: y is (N, C, H // 2, W // 2).
    """
    _, library = status()
    shrink = 2 if pool else 1

    def like_inputs(x, gamma, beta, weights, mean, variance, dy):
        return x, gamma, beta, weights

    def shapes(x, gamma, beta, weights):
        y = [x[0], x[1] // weights[0], x[2] // shrink, x[3] // shrink]
        return y, gamma, gamma

    def types(x, gamma, beta, weights):
        return x, gamma, gamma

    gradient = native.operator(f"{library}:EpilogueGrad", like_inputs, like_inputs, "aot")

    def bprop(x, gamma, beta, weights, out, dout):
        return gradient(x, gamma, beta, weights, out[1], out[2], dout[0])

    fused = native.operator(f"{library}:Epilogue", shapes, types, "aot", bprop=bprop)
    fused.add_prim_attr("pool", pool)  # MindSpore takes operators of equal attributes for the same
    return fused
