"""Grids of a network in integers: they hold what images make, and no sum leaves int32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layered_nets import every_kind, preprocessing, random_images, random_layers

from maam.deploy.int8 import RELU_ZERO, Int8Convolution
from maam.deploy.layers import Convolution, Layer, LayeredNetwork
from maam.deploy.quantization import quantize_layers


def float_logits(net: LayeredNetwork, images: np.ndarray) -> np.ndarray:
    return net.logits(preprocessing(net.image[:2])(images).transpose(0, 2, 3, 1))


@pytest.mark.parametrize("model", ["maamnet-nano", "maam-p1", "maam-k135", "maam-cnn"])
def test_logits_are_near_those_in_floating_point(model):
    layers, images = random_layers(model), random_images(48)
    net = quantize_layers(layers, preprocessing(), images)
    expected = float_logits(layers, images)
    found = net.logits(images) * net.logit_scale
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()
    assert np.sqrt(((found - expected) ** 2).mean()) < 0.05 * expected.std()


def test_grids():
    layers, images = every_kind(), random_images(32)
    net = quantize_layers(layers, preprocessing(), images)
    zeros = {layer.name: layer.grid.zero for layer in net.layers}
    relus = {"stem", "left", "right", "left.pool", "right.pool", "sum"}
    assert {name for name, zero in zeros.items() if zero == RELU_ZERO} == relus
    assert {zero for name, zero in zeros.items() if name not in relus} == {0}
    by_name = {layer.name: layer.grid for layer in net.layers}
    # What is added, and what is pooled, lies on one grid.
    assert by_name["left"] == by_name["left.pool"] == by_name["right"] == by_name["right.pool"]
    for layer in net.layers:
        for conv in layer.convolutions:
            assert conv.weight.dtype == np.int8 and np.abs(conv.weight).max() == 127
            for value in (conv.output.scale, *conv.weight_scale):
                assert value == np.float32(value)
    assert net.logit_scale == net.layers[-1].grid.scale == net.grids[-1].scale


def test_a_residual_is_whole_units_of_the_sum():
    layers, images = random_layers("maamnet-nano"), random_images(16)
    net = quantize_layers(layers, preprocessing(), images)
    blocks = [layer for layer in net.layers if layer.residual]
    assert len(blocks) == 7
    for layer in blocks:
        conv = layer.convolutions[1]
        assert conv.residual is not None and not (conv.residual % 2**16).any()
        unit = conv.input.scale * conv.weight_scale.astype(float)
        source = net.grids[layer.inputs[0]].scale
        np.testing.assert_allclose(conv.residual / 2**16 * unit, source, rtol=1e-6)


def test_pixels_become_the_nearest_numbers():
    net = quantize_layers(every_kind(), preprocessing(), random_images(8))
    levels = np.arange(256, dtype=np.uint8)
    pixels = preprocessing()(levels.reshape(-1, 1, 1, 1).repeat(3, 3))[:, :, 0, 0].T
    scale = net.grids[0].scale
    assert np.abs(net.table * scale - pixels).max() <= scale / 2 * 1.001
    assert np.abs(net.table).max() == 127


def one_layer(weight: np.ndarray, bias: np.ndarray, relu: bool = False) -> LayeredNetwork:
    """A 1x1 convolution, then the mean and a classifier that passes channels on."""
    channels = len(weight)
    conv = Convolution(weight.astype(np.float32), bias.astype(np.float32), relu=relu)
    head = Convolution(
        np.eye(channels, dtype=np.float32).reshape(channels, 1, 1, channels),
        np.zeros(channels, np.float32),
    )
    return LayeredNetwork(
        (8, 6, 3),
        (
            Layer("conv", "conv", (0,), (8, 6, channels), (conv,)),
            Layer("mean", "mean", (1,), (1, 1, channels)),
            Layer("head", "conv", (2,), (1, 1, channels), (head,)),
        ),
    )


def reach(conv: Int8Convolution) -> int:
    """The largest size of a sum, or of a part of it, whatever the image."""
    flat = np.abs(conv.weight.astype(np.int64)).reshape(len(conv.weight), -1).sum(1)
    more = 0
    if conv.residual is not None:
        assert (conv.residual > 0).all()
        more = (255 * conv.residual.astype(np.int64) >> 16) + 1
    return int((np.abs(conv.bias.astype(np.int64)) + 128 * flat + more).max())


SIZES = st.sampled_from([0.0, 1e-30, 1e-12, 1e-6, 1e-3, 1.0, 1e3, 1e6, 1e12])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SIZES, SIZES, st.booleans()), min_size=2, max_size=4), st.booleans())
def test_no_weights_or_biases_overflow(channels, relu):
    rng = np.random.default_rng(0)
    weight = np.stack([size * rng.normal(size=(1, 1, 3)) for size, *_ in channels])
    bias = np.array([size * (1 if positive else -1) for _, size, positive in channels])
    layers = one_layer(weight, bias, relu)
    images = random_images(4)
    net = quantize_layers(layers, preprocessing(), images)
    for layer in net.layers:
        for conv in layer.convolutions:
            assert reach(conv) < 2**31
            assert (conv.weight_scale > 0).all() and np.isfinite(conv.weight_scale).all()
            assert conv.multiplier.min() >= 2**30
            assert conv.shift.min() >= 1 and conv.shift.max() <= 62
    expected = float_logits(layers, images)
    found = net.logits(images) * net.logit_scale
    assert np.abs(found - expected).max() <= 0.03 * np.abs(expected).max() + 1e-5


def test_a_channel_of_zeros_gives_its_bias():
    weight = np.zeros((3, 1, 1, 3))
    weight[0] = 1
    layers = one_layer(weight, np.array([0.0, 0.75, 0.0]))
    net = quantize_layers(layers, preprocessing(), random_images(4))
    found = net.logits(random_images(4)) * net.logit_scale
    assert not found[:, 2].any()
    np.testing.assert_allclose(found[:, 1], 0.75, atol=2 * net.grids[1].scale)


def test_images_that_make_nothing_but_zeros():
    layers = one_layer(np.zeros((3, 1, 1, 3)), np.zeros(3), relu=True)
    net = quantize_layers(layers, preprocessing(), random_images(2))
    assert not net.logits(random_images(2)).any()


def test_a_wide_dense_layer_fits_into_int32():
    """256x256 maps of one channel: 127 * 128 * 2**16 products are more than a fourth of int32."""
    weight = np.full((2, 512, 512, 3), 1e-3, np.float32)
    head = Convolution(weight, np.array([1e4, -1e4], np.float32))
    layers = LayeredNetwork((512, 512, 3), (Layer("head", "conv", (0,), (1, 1, 2), (head,)),))
    images = np.full((1, 512, 512, 3), 255, np.uint8)
    net = quantize_layers(layers, preprocessing((512, 512)), images)
    (conv,) = net.layers[0].convolutions
    assert reach(conv) < 2**31
    expected = float_logits(layers, images)
    np.testing.assert_allclose(net.logits(images) * net.logit_scale, expected, rtol=0.05)


def test_a_small_residual_and_a_large_one():
    layers = list(every_kind().layers)
    for factor in (1e-6, 1e6):
        block = layers[1]
        depthwise, pointwise = block.convolutions
        changed = replace(pointwise, weight=pointwise.weight * np.float32(factor))
        layers[1] = replace(block, convolutions=(depthwise, changed))
        net = LayeredNetwork((8, 6, 3), tuple(layers))
        images = random_images(16)
        made = quantize_layers(net, preprocessing(), images)
        assert all(reach(conv) < 2**31 for layer in made.layers for conv in layer.convolutions)
        expected = float_logits(net, images)
        found = made.logits(images) * made.logit_scale
        assert np.abs(found - expected).max() < 0.15 * np.abs(expected).max()


def test_the_same_images_give_the_same_network():
    first, again = (
        quantize_layers(every_kind(), preprocessing(), random_images(8)) for _ in range(2)
    )
    np.testing.assert_array_equal(first.logits(random_images(4)), again.logits(random_images(4)))
