"""Where maps lie: little RAM, and nothing is overwritten that is still read."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from layered_nets import every_kind, preprocessing, random_images, random_layers

from maam.deploy.c.block import make_block
from maam.deploy.c.planner import plan_arena, scratch_bytes
from maam.deploy.int8 import Int8Network
from maam.deploy.layers import Convolution, Layer, LayeredNetwork
from maam.deploy.quantization import quantize_layers
from maam.deploy.reading import read_layers
from maam.models.weights import shipped_run

KIB = 1024


def chain(blocks: int, side: int = 16, channels: int = 8) -> LayeredNetwork:
    """Residual blocks of 5x5 windows, one after another, then a mean and a dense layer."""
    depthwise = Convolution(
        np.ones((channels, 5, 5, 1), np.float32),
        np.zeros(channels, np.float32),
        padding=2,
        groups=channels,
        relu=True,
    )
    pointwise = Convolution(
        np.eye(channels, dtype=np.float32)[:, None, None], np.zeros(channels, np.float32)
    )
    shape = side, side, channels
    layers = [
        Layer(f"block {n}", "block", (n,), shape, (depthwise, pointwise), True)
        for n in range(blocks)
    ]
    layers.append(Layer("mean", "mean", (blocks,), (1, 1, channels)))
    layers.append(Layer("dense", "conv", (blocks + 1,), (1, 1, channels), (pointwise,)))
    return LayeredNetwork(shape, tuple(layers))


@pytest.mark.parametrize("blocks", [1, 2, 7, 20])
def test_residual_blocks_need_one_map_and_two_rows(blocks):
    network = chain(blocks)
    row = 4 * 16 * 8
    room = scratch_bytes(network.layers[0], network.image, False)
    plan = plan_arena(network)
    assert plan.size <= 16 * row + 2 * row + room + 2 * 4 * 8
    assert plan.backwards[:blocks] == tuple(n % 2 == 0 for n in range(blocks))


def integers(network: LayeredNetwork) -> Int8Network:
    height, width, _ = network.image
    return quantize_layers(
        network, preprocessing((height, width)), random_images(2, (height, width))
    )


def test_nano_in_integers_needs_little_more_than_its_largest_map():
    network = read_layers(shipped_run("maamnet-nano"))
    largest = max(int(np.prod(layer.shape)) for layer in network.layers)
    assert largest == 32 * KIB
    assert plan_arena(integers(network)).size <= 42 * KIB
    assert plan_arena(network).size <= 4 * 42 * KIB


@pytest.mark.parametrize("model", ["maamnet-nano", "maamnet-tiny", "maam-k135"])
@pytest.mark.parametrize("whole", [True, False])
def test_maps_that_live_together_are_apart(model, whole):
    """But for an input that dies in the layer: ``test_c_kernels`` shows that this goes well."""
    network = random_layers(model, (9, 7)) if whole else integers(random_layers(model, (9, 7)))
    head = make_block(network, preprocessing((9, 7))).head
    plan = plan_arena(network)
    shapes = [network.image, *(layer.shape for layer in network.layers)]
    width = 4 if isinstance(network, LayeredNetwork) else 1
    sizes = [width * int(np.prod(shape)) for shape in shapes]
    sizes[-1] = max(2, width) * shapes[-1][2]
    last = {n: i for i, layer in enumerate(network.layers) for n in layer.inputs}
    last[len(shapes) - 1] = len(network.layers)
    if plan.kept is not None:
        last[plan.kept] = len(network.layers)
    for index, layer in enumerate(network.layers):
        need = scratch_bytes(layer, shapes[layer.inputs[0]], width == 1)
        spans = [(plan.scratch[index], need), (plan.maps[index + 1], sizes[index + 1])]
        spans += [
            (plan.maps[n], sizes[n])
            for n in range(index + 1)
            if last[n] > index or (last[n] == index and layer.kind in ("sum", "mean"))
        ]
        spans.sort()
        assert all(a + size <= b for (a, size), (b, _) in itertools.pairwise(spans))
        assert max(a + size for a, size in spans) <= head["arena_bytes"]


def test_the_map_before_the_mean_is_kept():
    network = every_kind()
    plan = plan_arena(network)
    assert plan.kept == 10
    assert make_block(network, preprocessing()).head["map_layer"] == 10
    assert plan_arena(random_layers("maam")).kept is None


def test_places_are_aligned():
    plan = plan_arena(integers(every_kind()))
    assert all(place % 8 == 0 for place in (*plan.maps, *plan.scratch, plan.size))
