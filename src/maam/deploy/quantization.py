"""Choose the grids of a network in integers from what images make of it in floating point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maam.data.preprocessing import Preprocessing
from maam.deploy.int8 import (
    LOGIT_STEPS,
    RELU_ZERO,
    RESIDUAL_BITS,
    Grid,
    Int8Convolution,
    Int8Layer,
    Int8Network,
)
from maam.deploy.layers import Convolution, Layer, LayeredNetwork, outcomes

_BATCH = 32
_SMALLEST = 2.0**-64  # scale of weights: smaller ones are 0
MOST_UNITS = 2**14  # of a sum, in one of the residual map


def quantize_layers(
    network: LayeredNetwork, preprocessing: Preprocessing, images: np.ndarray
) -> Int8Network:
    """A network in integers, its grids chosen so that they hold every value that images make.

    Args:
        network: in floating point.
        preprocessing: of its images.
        images: uint8 (N, H, W, C), of the training split.
    """
    return with_limits(network, preprocessing, largest_values(network, preprocessing, images))


def with_limits(
    network: LayeredNetwork, preprocessing: Preprocessing, limits: Sequence[Sequence[float]]
) -> Int8Network:
    """A network in integers whose grids reach up to ``limits``, which are as ``largest_values``."""
    levels = np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1)
    pixels = preprocessing(levels.repeat(network.image[2], 3)).reshape(256, -1).T  # (C, 256)
    first = _grid(float(np.abs(pixels).max()), False)
    table = np.clip(np.rint(pixels / first.scale), -128, 127).astype(np.int8)
    grids = [first]
    shared = _shared(network, limits)
    layers = []
    for number, layer in enumerate(network.layers):
        inputs = [grids[each] for each in layer.inputs]
        final = layer is network.layers[-1]
        height, width, _ = network.shape_of(layer.inputs[0])
        made = _quantize_layer(layer, inputs, limits[number], shared[number], height * width, final)
        layers.append(made)
        grids.append(made.grid)
    return Int8Network(network.image, table, tuple(grids), tuple(layers), grids[-1].scale)


def largest_values(
    network: LayeredNetwork, preprocessing: Preprocessing, images: np.ndarray
) -> list[list[float]]:
    """The largest absolute value of what each layer makes, after each of its convolutions."""
    found: list[list[float]] = [[] for _ in network.layers]
    for start in range(0, len(images), _BATCH):
        batch = preprocessing(images[start : start + _BATCH]).transpose(0, 2, 3, 1)
        maps = [batch]
        for number, layer in enumerate(network.layers):
            made = outcomes(layer, [maps[each] for each in layer.inputs])
            values = [float(np.abs(each).max()) for each in made]
            before = found[number] or values
            found[number] = [max(pair) for pair in zip(before, values, strict=True)]
            maps.append(made[-1])
    return found


def _shared(network: LayeredNetwork, largest: Sequence[Sequence[float]]) -> list[float]:
    """The largest value that a layer's own grid must hold.

    A pooling leaves numbers as they are, and a sum adds them: what they read lies on one grid.
    """
    shared = [values[-1] for values in largest]
    for number, layer in reversed(list(enumerate(network.layers))):
        if layer.kind == "pool":
            shared[layer.inputs[0] - 1] = shared[number]
        elif layer.kind == "sum":
            widest = max(shared[each - 1] for each in layer.inputs)
            for each in layer.inputs:
                shared[each - 1] = widest
    return shared


def _quantize_layer(
    layer: Layer,
    inputs: Sequence[Grid],
    largest: Sequence[float],
    own: float,
    area: int,
    final: bool,
) -> Int8Layer:
    same = layer.name, layer.kind, layer.inputs, layer.shape
    if layer.kind == "pool":
        return Int8Layer(*same, inputs[0])
    if layer.kind in ("sum", "mean"):
        grid = _grid(own, inputs[0].zero == RELU_ZERO)
        count = area if layer.kind == "mean" else 1
        multiplier, shift = _fixed_point(np.array([inputs[0].scale / grid.scale / count]))
        return Int8Layer(*same, grid, multiplier=int(multiplier[0]), shift=int(shift[0]))
    convs = []
    source = inputs[0]
    for index, conv in enumerate(layer.convolutions):
        last = index == len(layer.convolutions) - 1
        target = _grid(own if last else largest[index], conv.relu)
        if last and final:
            target = Grid(target.scale / LOGIT_STEPS, 0)
        residual = inputs[0] if layer.residual and last else None
        convs.append(_quantize_convolution(conv, source, target, residual))
        source = target
    return Int8Layer(*same, source, tuple(convs), layer.residual)


def _quantize_convolution(
    conv: Convolution, source: Grid, target: Grid, residual: Grid | None
) -> Int8Convolution:
    weight, bias = conv.weight.astype(np.float64), conv.bias.astype(np.float64)
    scale = np.abs(weight).reshape(len(weight), -1).max(1) / 127
    scale = np.maximum(scale, _SMALLEST).astype(np.float32)
    while True:  # until no sum of a channel, nor a part of it, can leave int32
        factor = np.zeros(len(scale))
        if residual is not None:
            scale, factor = _whole_residual(scale, source, residual)
        unit = source.scale * scale.astype(np.float64)
        numbers = np.rint(weight / scale[:, None, None, None].astype(np.float64))
        flat = numbers.reshape(len(numbers), -1)
        start = np.rint(bias / unit) - source.zero * flat.sum(1)
        reach = np.abs(start) + 128 * np.abs(flat).sum(1) + factor / 2**RESIDUAL_BITS * 255 + 1
        wide = (reach >= 2**31) | (factor >= 2**31)
        if not wide.any():
            break
        scale = np.where(wide, 2 * scale, scale)
    multiplier, shift = _fixed_point(unit / target.scale)
    return Int8Convolution(
        numbers.astype(np.int8),
        scale,
        start.astype(np.int32),
        multiplier,
        shift,
        None if residual is None else factor.astype(np.int32),
        conv.stride,
        conv.padding,
        conv.groups,
        source,
        target,
    )


def _whole_residual(
    scale: np.ndarray, source: Grid, residual: Grid
) -> tuple[np.ndarray, np.ndarray]:
    """Scales of weights, a little larger, for which one of the residual map is so many whole units
    of the sum: nothing is rounded when it is added. And its factor, in units of 2**-16.
    """
    units = residual.scale / (source.scale * scale.astype(np.float64))
    whole = np.clip(np.floor(units * (1 + 1e-6)), 1, MOST_UNITS)
    fits = units * (1 + 1e-6) >= 1  # else the weights would not fit into int8
    larger = (residual.scale / (source.scale * whole)).astype(np.float32)
    factor = np.where(fits, whole, units) * 2**RESIDUAL_BITS
    return np.where(fits, larger, scale), np.rint(factor)


def _grid(largest: float, relu: bool) -> Grid:
    """The grid that holds 0 to ``largest``, or the same on both sides of 0; in float32."""
    steps, zero = (255, RELU_ZERO) if relu else (127, 0)
    return Grid(float(np.float32(max(largest, 1e-6) / steps)), zero)


def _fixed_point(factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``multiplier / 2**shift`` nearest to positive factors (O,)."""
    mantissa, exponent = np.frexp(factor)  # mantissa in [0.5, 1)
    multiplier = np.rint(mantissa * 2**31).astype(np.int64)
    shift = 31 - exponent
    full = multiplier == 2**31  # rounded up to 1
    multiplier, shift = np.where(full, 2**30, multiplier), np.where(full, shift - 1, shift)
    tiny, huge = shift > 62, shift < 1  # the outcome is 0, or clamped, as well
    multiplier = np.where(tiny, 2**30, np.where(huge, 2**31 - 1, multiplier))
    return multiplier.astype(np.int32), np.clip(shift, 1, 62).astype(np.int32)
