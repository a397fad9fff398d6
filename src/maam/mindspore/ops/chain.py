"""Layers that follow each other in training, each with BatchNorm and ReLU, as one operator.

``chain.cc`` is compiled when the first network that uses it is built, see ``maam.native``.
"""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import Tensor, float32, nn, ops

from maam.mindspore.ops import aot, convolution, normalization

CHANNELS = 16  # those of every layer are a multiple


class Chain(nn.Cell):
    """One or two convolutions that follow each other, with BatchNorm and ReLU, on a CPU.

        a_1 = conv(x), a_2 = conv(relu(norm(a_1))), y = relu(norm(a_2) + r)

    A convolution has odd square kernels, padded by half of one, and no bias. This cell holds none
    of them. It serves in training in float32, only where it is ``native``; batch statistics count.

    Shapes: (N, H, W, C) -> (N, H / strides, W / strides, out_channels), rounded up. Channels lie
    last, and are a multiple of ``CHANNELS`` but for those of x.

    Args:
        strides: 1 or 2, of each convolution.
        relu: whether the last ReLU is there.
        add_input: r is x.
    """

    def __init__(self, strides: Sequence[int], relu: bool, add_input: bool = False) -> None:
        super().__init__()
        self.native = usable()
        self.form = Tensor([float(add_input), float(relu)], float32)
        self.nothing = Tensor([[[[0.0]]]], float32)
        if self.native:
            self.operator = operator(tuple(strides))

    def construct(
        self,
        x: Tensor,
        weights: tuple[Tensor, ...],
        norms: tuple[nn.BatchNorm2d, ...],
        r: Tensor | None = None,
    ) -> Tensor:
        r = self.nothing if r is None else r
        if len(norms) == 1:
            (norm,) = norms
            results = self.operator(x, r, self.form, weights[0], norm.gamma, norm.beta)
        else:
            one, two = norms
            results = self.operator(
                x, r, self.form, weights[0], one.gamma, one.beta, weights[1], two.gamma, two.beta
            )
        for number, norm in enumerate(norms):
            maps, mean, variance = results[3 * number + 1 : 3 * number + 4]
            track(norm, mean, variance, maps.size // maps.shape[-1])
        return results[0]


def track(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Let a norm's running statistics follow those of a batch.

    Args:
        norm: the layer.
        mean: of each channel.
        variance: of each channel, biased; BatchNorm keeps the unbiased one.
        count: of values that each is of.
    """
    variance = variance * (count / max(count - 1, 1))
    old_mean, old_variance = norm.moving_mean, norm.moving_variance
    ops.assign_sub(old_mean, norm.momentum * (old_mean - mean))
    ops.assign_sub(old_variance, norm.momentum * (old_variance - variance))


def serves(norm: nn.Cell) -> bool:
    """Whether a chain takes a layer with this norm, as it is now."""
    return normalization.serves(norm) and norm.gamma.shape[0] % CHANNELS == 0


def serves_convolution(conv: nn.Cell, stride: int) -> bool:
    """Whether a chain takes a convolution, as it is now."""
    return convolution.is_dense(conv, stride) and not conv.has_bias


def usable() -> bool:
    """Whether the operator is there and MindSpore computes on the CPU."""
    return aot.usable("chain")


def operator(strides: tuple[int, ...]) -> ops.Custom:
    """The operator of ``Chain``, see ``chain.cc``, with all gradients. Only where it is usable.

    x, r, form, and of each layer weight, gamma, beta -> y, and of each layer its maps before the
    norm, their mean and their biased variance.
    """
    library = aot.library("chain")
    layers = len(strides)

    def shapes(x, r, form, *parameters):
        results, maps = [], list(x)
        for number, stride in enumerate(strides):
            weight, gamma, _ = parameters[3 * number : 3 * number + 3]
            sides = [-(-side // stride) for side in maps[1:3]]
            maps = [maps[0], *sides, weight[0]]
            results += [maps, gamma, gamma]
        return (maps, *results)

    def types(x, r, form, *parameters):
        return (x,) * (1 + 3 * layers)

    def gradient_shapes(x, r, form, *others):
        results = others[3 * layers + 1 :]
        room = [results[3 * number] for number in range(layers - 1)]
        return (x, r, *others[: 3 * layers], *room)

    def gradient_types(x, r, form, *others):
        return (x,) * (1 + 4 * layers)

    def gradient(name):
        return aot.operator(f"{library}:{name}", gradient_shapes, gradient_types, "aot")

    # Two operators, so that a graph can drop the gradient of an image, of few channels.
    every, but_input = gradient("ChainGrad"), gradient("ChainGradButInput")

    def bprop_one(x, r, form, w, gamma, beta, out, dout):
        known = (x, r, form, w, gamma, beta, *out, dout[0])
        grads = every(*known)
        others = grads if x.shape[3] % CHANNELS == 0 else but_input(*known)
        return (grads[0], others[1], form, others[2], others[3], others[4])

    def bprop_two(x, r, form, w, gamma, beta, w_2, gamma_2, beta_2, out, dout):
        g = every(x, r, form, w, gamma, beta, w_2, gamma_2, beta_2, *out, dout[0])
        return (g[0], g[1], form, g[2], g[3], g[4], g[5], g[6], g[7])

    bprop = bprop_one if layers == 1 else bprop_two
    result = aot.operator(f"{library}:ChainForward", shapes, types, "aot", bprop=bprop)
    result.add_prim_attr("strides", "".join(map(str, strides)))  # as in normalization.py
    return result
