"""What follows a convolution in training, as one operator: BatchNorm, pooling, ReLU, weighted sum.

The paper's "FusedOp" (equation 9), real, for MindSpore on a CPU: ``normalization.cc`` is compiled
when the first network is built, see ``maam.native``.
"""

from __future__ import annotations

from mindspore import Tensor, nn, ops
from mindspore.ops.functional import isconstant

from maam.mindspore.ops import aot

EPSILON = 1e-5  # of the norms that operators compute


def serves(norm: nn.Cell) -> bool:
    """Whether operators take a norm as it is now: with the batch's statistics in training alone."""
    return (
        aot.is_exactly(norm, nn.BatchNorm2d)
        and norm.use_batch_statistics is None
        and norm.eps == EPSILON
    )


def halves(pool: nn.Cell) -> bool:
    """Whether a cell, as it is now, is the max pooling of 2x2 that operators compute."""
    return (
        aot.is_exactly(pool, nn.MaxPool2d)
        and pool.kernel_size == 2
        and pool.stride == 2
        and pool.pad_mode == "VALID"
    )


def usable() -> bool:
    """Whether the operator is there and MindSpore computes on the CPU."""
    return aot.usable("normalization")


def operator(pool: bool) -> ops.Custom:
    """The operator; only where it is ``usable``.

    It takes x (N, A * C, H, W), gamma and beta (A * C,), and weights (A,), all float32, and gives
    y (N, C, H, W) and the batch's mean and biased variance (A * C,), where

        y[n, c] = sum over a of weights[a] * relu(pool(norm(x[n, a * C + c])))

    It has gradients for all four inputs; those of mean and variance do not flow back.

    Args:
        pool: 2x2 max pooling: y is (N, C, H // 2, W // 2).
    """
    library = aot.library("normalization")
    shrink = 2 if pool else 1

    def like_inputs(x, gamma, beta, weights, mean, variance, dy):
        return x, gamma, beta, weights

    def shapes(x, gamma, beta, weights):
        y = [x[0], x[1] // weights[0], x[2] // shrink, x[3] // shrink]
        return y, gamma, gamma

    def types(x, gamma, beta, weights):
        return x, gamma, gamma

    gradient = aot.operator(f"{library}:EpilogueGrad", like_inputs, like_inputs, "aot")

    def bprop(x, gamma, beta, weights, out, dout):
        return gradient(x, gamma, beta, weights, out[1], out[2], dout[0])

    fused = aot.operator(f"{library}:Epilogue", shapes, types, "aot", bprop=bprop)
    fused.add_prim_attr("pool", pool)  # MindSpore takes operators of equal attributes for the same
    return fused


def weighted_sum(maps: Tensor, weights: Tensor) -> Tensor:
    """Equation 2: (N, A * C, H, W), agent after agent, weights (A,) or (N, A) -> (N, C, H, W)."""
    _, channels, height, width = maps.shape
    agents = weights.shape[-1]
    channels = channels // agents
    stacked = maps.reshape(-1, agents, channels * height * width)
    weights = weights.reshape(-1, 1, agents).astype(maps.dtype)
    if isconstant(maps.shape):
        total = ops.matmul(weights, stacked)
    else:  # such as batches of any size: MindSpore can't differentiate the product then
        total = (weights.swapaxes(1, 2) * stacked).sum(1)
    return total.reshape(-1, channels, height, width)
