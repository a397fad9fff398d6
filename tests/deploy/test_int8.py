"""The arithmetic of integers: what docs/int8.md says, number by number."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layered_nets import every_kind, preprocessing, random_images

from maam.deploy.int8 import Int8Convolution, Int8Layer, Int8Network, requantize
from maam.deploy.quantization import quantize_layers

INT32 = st.integers(-(2**31), 2**31 - 1)


def by_hand(total: int, multiplier: int, shift: int, zero: int, low: int, high: int) -> int:
    """Python's integers have no width: nothing can overflow."""
    scaled = (total * multiplier + 2 ** (shift - 1)) // 2**shift + zero
    return min(max(scaled, low), high)


@given(
    st.lists(INT32, min_size=1, max_size=8),
    st.integers(2**30, 2**31 - 1),
    st.integers(1, 62),
    st.integers(-128, 127),
    st.sampled_from([np.int8, np.int16]),
)
def test_requantize(sums, multiplier, shift, zero, kind):
    found = requantize(np.array(sums, np.int64), multiplier, shift, zero, kind)
    ends = np.iinfo(kind).min, np.iinfo(kind).max
    assert found.dtype == kind
    assert found.tolist() == [by_hand(each, multiplier, shift, zero, *ends) for each in sums]


@given(st.lists(INT32, min_size=2, max_size=8), st.integers(2**30, 2**31 - 1), st.integers(1, 62))
def test_requantize_keeps_the_order(sums, multiplier, shift):
    made = requantize(np.sort(np.array(sums, np.int64)), multiplier, shift, 0, np.int8)
    assert (np.diff(made.astype(int)) >= 0).all()


@pytest.mark.parametrize(
    ("total", "shift", "zero", "wanted"),
    [
        (3, 31, 0, 2),  # 1.5 rounds up
        (-3, 31, 0, -1),  # and so does -1.5
        (1, 31, 0, 1),
        (-1, 31, 0, 0),
        (1000, 31, 0, 127),
        (-1000, 31, 0, -128),
        (-1000, 31, -128, -128),  # a ReLU
        (10, 31, -128, -123),
        (2**31 - 1, 62, 0, 0),
        (-(2**31), 1, 0, -128),
    ],
)
def test_pinned_roundings(total, shift, zero, wanted):
    assert requantize(np.array([total]), 2**30, shift, zero, np.int8).tolist() == [wanted]


def convolution_by_hand(x: Any, conv: Int8Convolution, added: Any, final: bool) -> Any:
    """One convolution of one image, (H][W][C) lists of integers of any width."""
    out, rows, columns, depth = conv.weight.shape
    height = (len(x) + 2 * conv.padding - rows) // conv.stride + 1
    width = (len(x[0]) + 2 * conv.padding - columns) // conv.stride + 1
    made = np.zeros((height, width, out), int).tolist()
    ends = (-(2**15), 2**15 - 1) if final else (-128, 127)
    for i, j, o in itertools.product(range(height), range(width), range(out)):
        total = int(conv.bias[o])
        first = o // (out // conv.groups) * depth
        for r, c, d in itertools.product(range(rows), range(columns), range(depth)):
            y, z = i * conv.stride + r - conv.padding, j * conv.stride + c - conv.padding
            inside = 0 <= y < len(x) and 0 <= z < len(x[0])
            total += int(conv.weight[o, r, c, d]) * (
                x[y][z][first + d] if inside else conv.input.zero
            )
            assert -(2**31) <= total < 2**31
        if added is not None and conv.residual is not None:
            source, zero = added
            more = (source[i][j][o] - zero) * int(conv.residual[o])
            total += (more + 2**15) // 2**16
            assert -(2**31) <= total < 2**31
        made[i][j][o] = by_hand(
            total, int(conv.multiplier[o]), int(conv.shift[o]), conv.output.zero, *ends
        )
    return made


def layer_by_hand(net: Int8Network, layer: Int8Layer, maps: list[Any]) -> Any:
    x = np.array(maps[layer.inputs[0]])
    grids = [net.grids[number] for number in layer.inputs]
    if layer.kind == "pool":
        height, width, _ = layer.shape
        return [
            [x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((0, 1)).tolist() for j in range(width)]
            for i in range(height)
        ]
    scale = layer.multiplier, layer.shift, layer.grid.zero, -128, 127
    if layer.kind == "mean":
        return [[[by_hand(int(s), *scale) for s in (x - grids[0].zero).sum((0, 1))]]]
    if layer.kind == "sum":
        channels = layer.shape[2]
        made = np.zeros(layer.shape, int)
        for number, grid in zip(layer.inputs, grids, strict=True):
            centred = np.array(maps[number]) - grid.zero
            for group in np.split(centred, centred.shape[2] // channels, 2):
                made += group
        return np.vectorize(lambda s: by_hand(int(s), *scale))(made).tolist()
    made = x.tolist()
    final = layer is net.layers[-1]
    for index, conv in enumerate(layer.convolutions):
        last = index == len(layer.convolutions) - 1
        added = (maps[layer.inputs[0]], grids[0].zero) if last and layer.residual else None
        made = convolution_by_hand(made, conv, added, last and final)
    return made


@pytest.mark.parametrize("seed", range(3))
def test_the_reference_is_the_arithmetic_by_hand(seed):
    net = quantize_layers(every_kind(seed), preprocessing(), random_images(8))
    image = random_images(1, seed=7 + seed)
    maps: list[Any] = []
    for number, found in enumerate(net.forward(image)):
        if number:
            maps.append(layer_by_hand(net, net.layers[number - 1], maps))
        else:
            table = net.table
            maps.append(
                [[[int(table[c, v]) for c, v in enumerate(p)] for p in row] for row in image[0]]
            )
        assert found[0].tolist() == maps[-1]


def test_logits_are_int16_and_do_not_depend_on_the_batch():
    net = quantize_layers(every_kind(), preprocessing(), random_images(8))
    images = random_images(70)
    logits = net.logits(images)
    assert logits.dtype == np.int16 and logits.shape == (70, 3)
    np.testing.assert_array_equal(net.logits(images[69:]), logits[69:])
    assert net.logits(images[:0]).shape == (0, 3)
