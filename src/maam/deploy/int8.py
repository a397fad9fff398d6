"""A network in 8-bit integers: how it is made, and exactly what it computes.

docs/int8.md writes the arithmetic down; the kernels in C compute the same, bit by bit. In short:

- A value of a map is ``scale * (q - zero)``, q in int8. ``zero`` is -128 for maps that have passed
  a ReLU, which the lower end of int8 then is, and 0 for all others. Around a map stands ``zero``.
- A weight is ``scale[o] * w``, w in -127..127, with a scale for each output channel o.
- A convolution sums ``bias[o] + sum(w * q)`` in int32; the bias has taken in ``-zero * sum(w)``.
- ``requantize`` brings a sum to the grid of the next map: one product in int64, one shift.
- The last layer's sums become int16 logits, in units of ``logit_scale``.

The approach is that of Jacob et al., CVPR 2018, arXiv 1712.05877, with weights scaled per channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from maam.deploy.layers import Kind, Shape, convolve, pool, sum_groups

RELU_ZERO = -128
RESIDUAL_BITS = 16  # fraction bits of a residual's factor
LOGIT_STEPS = 256  # steps of the int16 logits in one of the int8 grid that would hold them
_BATCH = 4  # whose maps fit into a processor's cache


@dataclass(frozen=True)
class Grid:
    """The values that a map's int8 numbers q stand for: ``scale * (q - zero)``."""

    scale: float
    zero: int


@dataclass(frozen=True)
class Int8Convolution:
    """A convolution in integers.

    Attributes:
        weight: int8 (O, rows, columns, I / groups).
        weight_scale: float32 (O,).
        bias: int32 (O,), in units of input scale times weight scale, ``zero`` taken in.
        multiplier, shift: int32 (O,): of ``requantize``.
        residual: int32 (O,): units of the sum in one of the residual map, times 2**16; whole units,
            unless that is less than one; None where nothing is added.
        stride, padding, groups: as in ``Convolution``.
        input, output: the grids of what it reads and makes.
    """

    weight: np.ndarray
    weight_scale: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    residual: np.ndarray | None
    stride: int
    padding: int
    groups: int
    input: Grid
    output: Grid


@dataclass(frozen=True)
class Int8Layer:
    """A layer in integers; see ``maam.deploy.layers.Layer``.

    Attributes:
        grid: of what it makes.
        multiplier, shift: of ``requantize`` for ``sum`` and ``mean``; 0 for other kinds.
    """

    name: str
    kind: Kind
    inputs: tuple[int, ...]
    shape: Shape
    grid: Grid
    convolutions: tuple[Int8Convolution, ...] = ()
    residual: bool = False
    multiplier: int = 0
    shift: int = 0


@dataclass(frozen=True)
class Int8Network:
    """A network in integers.

    Attributes:
        image: (H, W, C).
        table: int8 (C, 256): the first map's number for each pixel value of each channel.
        grids: of every map: that of the image, then those of the layers.
        layers: the last one makes int16 logits (1, 1, classes).
        logit_scale: what one unit of a logit stands for.
    """

    image: Shape
    table: np.ndarray
    grids: tuple[Grid, ...]
    layers: tuple[Int8Layer, ...]
    logit_scale: float

    def forward(self, images: np.ndarray) -> Iterator[np.ndarray]:
        """Every map in turn, that of the image first, the logits last.

        Args:
            images: uint8 (N, H, W, C).

        Yields:
            int8 (N, H, W, C); at last int16 (N, 1, 1, K).
        """
        maps = [np.stack([row[images[..., c]] for c, row in enumerate(self.table)], -1)]
        yield maps[0]
        for layer in self.layers:
            inputs = [maps[number] for number in layer.inputs]
            grids = [self.grids[number] for number in layer.inputs]
            final = layer is self.layers[-1]
            maps.append(_compute(layer, inputs, grids, np.int16 if final else np.int8))
            yield maps[-1]

    def logits(self, images: np.ndarray) -> np.ndarray:
        """int16 (N, K) of images uint8 (N, H, W, C)."""
        parts = [np.empty((0, self.layers[-1].shape[2]), np.int16)]
        for start in range(0, len(images), _BATCH):
            *_, logits = self.forward(images[start : start + _BATCH])
            parts.append(logits.reshape(len(logits), -1))
        return np.concatenate(parts)

    def values(self, images: np.ndarray) -> np.ndarray:
        """The logits that the integers stand for, float32 (N, K)."""
        return self.logits(images) * np.float32(self.logit_scale)


def requantize(
    sums: np.ndarray, multiplier: np.ndarray | int, shift: np.ndarray | int, zero: int, kind: type
) -> np.ndarray:
    """Sums on the grid of a map: ``zero + floor((sum * multiplier + 2**(shift - 1)) / 2**shift)``.

    Rounds half up, and clamps to the range of ``kind``.

    Args:
        sums: int64, of int32's range.
        multiplier: 2**30 to 2**31 - 1.
        shift: 1 to 62.
        zero: of the map.
        kind: int8 or int16.
    """
    shift = np.asarray(shift, np.int64)
    scaled = sums * np.asarray(multiplier, np.int64)
    scaled += 1 << (shift - 1)
    scaled >>= shift
    scaled += zero
    range_ = np.iinfo(kind)
    np.maximum(scaled, range_.min, out=scaled)
    return np.minimum(scaled, range_.max, out=scaled).astype(kind)


def _compute(
    layer: Int8Layer, maps: Sequence[np.ndarray], grids: Sequence[Grid], kind: type
) -> np.ndarray:
    x = maps[0]
    if layer.kind == "pool":
        return pool(x)
    if layer.kind in ("sum", "mean"):
        centred = [m.astype(np.int64) - g.zero for m, g in zip(maps, grids, strict=True)]
        if layer.kind == "mean":
            sums = centred[0].sum((1, 2), keepdims=True)
        else:
            sums = np.sum([sum_groups(each, layer.shape[2]) for each in centred], 0)
        return requantize(sums, layer.multiplier, layer.shift, layer.grid.zero, kind)
    made = x
    for index, conv in enumerate(layer.convolutions):
        # Floating point is exact up to 2**24 or 2**53, and has a fast product of matrices.
        exact = np.float32 if conv.weight[0].size <= 1024 else np.float64
        window = conv.stride, conv.padding, conv.groups
        products = convolve(made.astype(exact), conv.weight.astype(exact), *window, conv.input.zero)
        shape, width = products.shape, products.shape[2]
        # A row of pixels is one long vector, for NumPy is slow with short ones.
        sums = products.reshape(-1, width * shape[3]).astype(np.int64)
        sums += np.tile(conv.bias, width)
        if conv.residual is not None:
            more = x.reshape(sums.shape).astype(np.int64)
            more -= grids[0].zero
            more *= np.tile(conv.residual, width)
            more += 1 << (RESIDUAL_BITS - 1)
            more >>= RESIDUAL_BITS
            sums += more
        scale = np.tile(conv.multiplier, width), np.tile(conv.shift, width)
        last = index == len(layer.convolutions) - 1
        made = requantize(sums, *scale, conv.output.zero, kind if last else np.int8).reshape(shape)
    return made
