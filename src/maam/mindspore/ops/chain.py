"""Layers that follow each other, each with BatchNorm and ReLU, as one operator.

``chain.cc`` is compiled when the first network that uses it is built, see ``maam.native``, and
``chain_half.cc`` when the first one is halved.
"""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import Tensor, float32, nn, ops, uint16

from maam.mindspore.ops import aot, convolution, normalization

CHANNELS = 16  # those of every layer are a multiple
MOMENTUM = 0.1  # what a batch counts in running statistics, `kMomentum` of chain_operator.h


class Chain(nn.Cell):
    """One or two convolutions that follow each other, with BatchNorm and ReLU, on a CPU.

        a_1 = conv(x), a_2 = conv(relu(norm(a_1))), y = relu(norm(a_2) + r)

    A convolution has odd square kernels, padded by half of one, and no bias. This cell holds none
    of them, but moves the running statistics of the norms, for which it must ``serve``. It is for
    float32, only where it is ``native``. In training batch statistics count; in inference, which
    has no gradients, the running ones.

    Shapes: (N, H, W, C) -> (N, H / strides, W / strides, out_channels), rounded up. Channels lie
    last, and are a multiple of ``CHANNELS`` but for those of x.

    Args:
        strides: 1 or 2, of each convolution.
        relu: whether the last ReLU is there.
        add_input: r is x.

    Attributes:
        half: whether maps before norms are kept in bfloat16 in training, which 1x1 convolutions
            multiply, see ``halve``.
    """

    def __init__(self, strides: Sequence[int], relu: bool, add_input: bool = False) -> None:
        super().__init__()
        self.native = usable()
        self.strides, self.half = tuple(strides), False
        self.form = Tensor([float(add_input), float(relu), *map(float, strides)], float32)
        self.nothing = Tensor([[[[0.0]]]], float32)
        if self.native:
            self.operator = operator(self.strides)
            self.inference = inference_operator(self.strides)

    def halve(self, half: bool) -> None:
        """Train in bfloat16 where that can be compiled, or in float32.

        Only for a depthwise convolution and one of 1x1 behind it.
        """
        self.half = half and self._can_halve()
        if self.half:
            self.half_operator = operator(self.strides, half=True)

    def halve_inference(self) -> None:
        """Compute in bfloat16 in inference from now on, where that can be compiled.

        Only for a depthwise convolution and one of 1x1 behind it.
        """
        if self._can_halve():
            self.inference = inference_operator(self.strides, half=True)

    def _can_halve(self) -> bool:
        return self.native and aot.usable("chain_half")

    def construct(
        self,
        x: Tensor,
        weights: tuple[Tensor, ...],
        norms: tuple[nn.BatchNorm2d, ...],
        r: Tensor | None = None,
    ) -> Tensor:
        layers = ()
        for weight, norm in zip(weights, norms):  # noqa: B905 - graphs know no strict
            statistics = norm.moving_mean, norm.moving_variance
            layers = (*layers, weight, norm.gamma, norm.beta, *statistics)
        arguments = x, self.nothing if r is None else r, self.form, *layers
        if not self.training:
            return self.inference(*arguments)
        results = self.half_operator(*arguments) if self.half else self.operator(*arguments)
        for number, norm in enumerate(norms):
            mean, variance = results[5 * number + 4 : 5 * number + 6]
            ops.assign(norm.moving_mean, mean)
            ops.assign(norm.moving_variance, variance)
        return results[0]


def serves(norm: nn.Cell) -> bool:
    """Whether a chain takes a layer with this norm, as it is now."""
    usual = normalization.serves(norm) and abs(norm.momentum - MOMENTUM) < 1e-6
    return usual and norm.gamma.shape[0] % CHANNELS == 0


def serves_convolution(conv: nn.Cell, stride: int) -> bool:
    """Whether a chain takes a convolution, as it is now."""
    return convolution.is_dense(conv, stride) and not conv.has_bias


def usable() -> bool:
    """Whether the operator is there and MindSpore computes on the CPU."""
    return aot.usable("chain")


def operator(strides: tuple[int, ...], half: bool = False) -> ops.Custom:
    """The operator of ``Chain``, see ``chain.cc``. Only where it is usable.

    x, r, form, and of each layer weight, gamma, beta, running mean and variance -> y, and of each
    layer its maps before the norm, their mean, their biased variance, and the running ones after.
    It has the gradients of x, r, weights, gammas and betas.

    Args:
        strides: of each layer.
        half: the maps before norms are bfloat16, and 1x1 convolutions multiply it.
    """
    layers, name = len(strides), "Half" if half else ""
    library = aot.library("chain_half" if half else "chain")
    kept = uint16 if half else float32  # MindSpore has few operators for bfloat16 on a CPU

    def shapes(x, r, form, *parameters):
        maps = _maps(strides, x, parameters)
        gammas = parameters[1::5]
        each = [(to, *4 * (gamma,)) for to, gamma in zip(maps, gammas, strict=True)]
        return (maps[-1], *(shape for shapes in each for shape in shapes))

    def types(x, r, form, *parameters):
        return (x, *(kept, x, x, x, x) * layers)

    def gradient_shapes(x, r, form, *others):
        results = others[3 * layers + 1 :]
        room = [results[3 * number] for number in range(layers - 1)]
        return (x, r, *others[: 3 * layers], *room)

    def gradient_types(x, r, form, *others):
        return (*(x,) * (2 + 3 * layers), *(kept,) * (layers - 1))

    def gradient(name):
        return aot.operator(f"{library}:{name}", gradient_shapes, gradient_types, "aot")

    # Two operators, so that a graph can drop the gradient of an image, of few channels.
    every, but_input = gradient(f"ChainGrad{name}"), gradient("ChainGradButInput")

    # Nobody asks for the gradients of form and of running statistics: anything of their shape.
    def bprop_one(x, r, form, w, gamma, beta, mean, variance, out, dout):
        known = (x, r, form, w, gamma, beta, *out[:4], dout[0])
        g = every(*known)
        others = g if x.shape[3] % CHANNELS == 0 else but_input(*known)
        return (g[0], others[1], form, *others[2:5], *out[2:4])

    def bprop_two(
        x, r, form, w, gamma, beta, mean, variance, w2, gamma2, beta2, mean2, variance2, out, dout
    ):
        inputs = x, r, form, w, gamma, beta, w2, gamma2, beta2
        g = every(*inputs, *out[:4], *out[6:9], dout[0])
        return (g[0], g[1], form, *g[2:5], *out[2:4], *g[5:8], *out[7:9])

    bprop = bprop_one if layers == 1 else bprop_two
    result = aot.operator(f"{library}:ChainForward{name}", shapes, types, "aot", bprop=bprop)
    result.add_prim_attr("strides", "".join(map(str, strides)))  # as in normalization.py
    return result


def inference_operator(strides: tuple[int, ...], half: bool = False) -> ops.Custom:
    """The same arguments -> y, by the running statistics. It has no gradients."""
    library, name = ("chain_half", "Half") if half else ("chain", "")

    def shapes(x, r, form, *parameters):
        return _maps(strides, x, parameters)[-1]

    def types(x, r, form, *parameters):
        return x

    result = aot.operator(f"{aot.library(library)}:ChainInference{name}", shapes, types, "aot")
    result.add_prim_attr("strides", "".join(map(str, strides)))
    return result


def _maps(strides: Sequence[int], x: Sequence[int], parameters: Sequence) -> list[list[int]]:
    """The shape of each layer's maps."""
    maps = [list(x)]
    for stride, weight in zip(strides, parameters[::5], strict=True):
        batch, height, width, _ = maps[-1]
        maps.append([batch, -(-height // stride), -(-width // stride), weight[0]])
    return maps[1:]
