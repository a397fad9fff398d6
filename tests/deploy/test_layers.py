"""Layers on NumPy arrays: what each computes, by loops that can be read."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from maam.deploy.layers import (
    Convolution,
    Layer,
    LayeredNetwork,
    convolve,
    outcomes,
    pool,
    shape_after,
    sum_groups,
)


def by_loops(x, weight, stride, padding, groups, pad=0.0):
    """What ``convolve`` computes, number by number."""
    out, rows, columns, depth = weight.shape
    count, height, width, _ = x.shape
    high = (height + 2 * padding - rows) // stride + 1
    wide = (width + 2 * padding - columns) // stride + 1
    made = np.zeros((count, high, wide, out))
    for n, i, j, o in itertools.product(*map(range, made.shape)):
        first = o // (out // groups) * depth
        for r, c, d in itertools.product(range(rows), range(columns), range(depth)):
            y, z = i * stride + r - padding, j * stride + c - padding
            inside = 0 <= y < height and 0 <= z < width
            made[n, i, j, o] += weight[o, r, c, d] * (x[n, y, z, first + d] if inside else pad)
    return made


WINDOWS = pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding", "groups"),
    [
        ((5, 6, 3), (4, 3, 3, 3), 1, 1, 1),
        ((5, 6, 4), (4, 5, 5, 1), 1, 2, 4),
        ((5, 6, 4), (4, 5, 5, 1), 2, 2, 4),
        ((6, 5, 4), (6, 3, 3, 2), 1, 1, 2),
        ((4, 4, 4), (8, 1, 1, 1), 1, 0, 4),
        ((4, 4, 2), (3, 4, 4, 2), 1, 0, 1),
        ((7, 6, 3), (2, 2, 2, 3), 2, 0, 1),
        ((7, 8, 2), (2, 5, 4, 1), 3, 2, 2),
        ((5, 4, 6), (4, 1, 1, 6), 2, 0, 1),
        ((1, 1, 1024), (2, 1, 1, 1024), 1, 0, 1),  # the largest sum in float32 below
    ],
)


@WINDOWS
def test_convolutions_are_sums_of_products(shape, kernel, stride, padding, groups, rng):
    x, weight = rng.normal(size=(2, *shape)), rng.normal(size=kernel)
    window = stride, padding, groups
    for pad in (0, -128):
        found = convolve(x, weight, *window, pad)
        np.testing.assert_allclose(found, by_loops(x, weight, *window, pad), atol=1e-9)


@WINDOWS
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_sums_of_integers_are_exact(shape, kernel, stride, padding, groups, kind, rng):
    x, weight = rng.integers(-128, 128, (2, *shape)), rng.integers(-127, 128, kernel)
    x[0], weight[0], weight[-1] = -128, 127, -127
    window = stride, padding, groups
    found = convolve(x.astype(kind), weight.astype(kind), *window, -128)
    assert found.dtype == kind
    np.testing.assert_array_equal(found, by_loops(x, weight, *window, -128))


def test_pooling_leaves_an_odd_row_and_column_out(rng):
    x = rng.normal(size=(2, 5, 7, 3))
    np.testing.assert_array_equal(pool(x)[:, 1, 2], x[:, 2:4, 4:6].max((1, 2)))
    assert pool(x).shape == (2, 2, 3, 3)


def test_groups_of_channels_are_added_up():
    x = np.arange(6.0).reshape(1, 1, 1, 6)
    np.testing.assert_array_equal(sum_groups(x, 2).ravel(), [0 + 2 + 4, 1 + 3 + 5])


def test_a_block_adds_its_input_and_relu_cuts(rng):
    depthwise = Convolution(rng.normal(size=(3, 3, 3, 1)), rng.normal(size=3), 1, 1, 3, relu=True)
    pointwise = Convolution(rng.normal(size=(3, 1, 1, 3)), rng.normal(size=3))
    layer = Layer("b", "block", (0,), (4, 4, 3), (depthwise, pointwise), residual=True)
    x = rng.normal(size=(2, 4, 4, 3))
    between, made = outcomes(layer, [x])
    wanted = np.maximum(by_loops(x, depthwise.weight, 1, 1, 3) + depthwise.bias, 0)
    np.testing.assert_allclose(between, wanted)
    np.testing.assert_allclose(made, x + wanted @ pointwise.weight[:, 0, 0].T + pointwise.bias)


def test_logits_do_not_depend_on_the_batch(rng):
    head = Convolution(rng.normal(size=(2, 1, 1, 3)).astype("f4"), np.zeros(2, np.float32))
    layers = (Layer("m", "mean", (0,), (1, 1, 3)), Layer("c", "conv", (1,), (1, 1, 2), (head,)))
    net = LayeredNetwork((4, 4, 3), layers)
    images = rng.normal(size=(70, 4, 4, 3)).astype(np.float32)
    whole = net.logits(images)
    assert whole.shape == (70, 2) and whole.dtype == np.float32
    np.testing.assert_allclose(whole[69:], net.logits(images[69:]), atol=1e-6)
    assert net.logits(images[:0]).shape == (0, 2)


def test_shapes():
    conv = Convolution(np.zeros((8, 5, 5, 3), np.float32), np.zeros(8, np.float32), 2, 2)
    assert shape_after("conv", (9, 8, 3), (conv,)) == (5, 4, 8)
    assert shape_after("pool", (9, 8, 3)) == (4, 4, 3)
    assert shape_after("mean", (9, 8, 3)) == (1, 1, 3)
    assert shape_after("sum", (9, 8, 6), channels=3) == (9, 8, 3)
    with pytest.raises(ValueError, match="a convolution of 1 groups of 3 channels reads 4"):
        shape_after("conv", (9, 8, 4), (conv,))
    with pytest.raises(ValueError, match="no pixel"):
        shape_after("pool", (1, 8, 3))
