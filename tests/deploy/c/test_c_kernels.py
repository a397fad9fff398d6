"""The kernels compute what NumPy does: int8 bit by bit, floating point within 1e-4."""

from __future__ import annotations

import dataclasses
import subprocess
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layered_nets import every_kind, preprocessing, random_images, random_layers

from maam.data.preprocessing import Preprocessing
from maam.deploy.c.block import Block, make_block
from maam.deploy.int8 import Int8Convolution, Int8Network
from maam.deploy.layers import Convolution, Layer, LayeredNetwork, shape_after
from maam.deploy.quantization import quantize_layers
from maam.deploy.reading import read_layers
from maam.models.weights import shipped_run


def check(programs, network: LayeredNetwork, how: Preprocessing, images: np.ndarray, folder):
    """Compare all forms of the kernels with NumPy; the network in integers."""
    integers = quantize_layers(network, how, images)
    wanted = integers.logits(images)
    assert len(np.unique(wanted)) > 1  # else anything is equal
    for form in ("plain", "dsp"):
        answers = programs[form].answer(make_block(integers), images, folder)
        np.testing.assert_array_equal(answers.logits, wanted, form)
        check_probabilities(answers.probabilities, wanted * np.float32(integers.logit_scale))
    exact = network.logits(how(images).transpose(0, 2, 3, 1))
    answers = programs["float32"].answer(make_block(network, how), images, folder)
    np.testing.assert_allclose(answers.logits, exact, rtol=1e-5, atol=1e-4)
    check_probabilities(answers.probabilities, exact)
    return integers


def check_probabilities(found: np.ndarray, logits: np.ndarray) -> None:
    raised = np.exp(logits - logits.max(1, keepdims=True).astype(np.float64))
    np.testing.assert_allclose(found, raised / raised.sum(1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_a_layer_of_every_kind(programs, tmp_path, seed):
    check(programs, every_kind(seed), preprocessing(), random_images(8, seed=seed), tmp_path)


@pytest.mark.parametrize("model", ["maam", "maam-k135", "maam-a1", "maam-cnn", "maamnet-nano"])
def test_networks_on_small_images(programs, tmp_path, model):
    network = random_layers(model)
    check(programs, network, preprocessing(), random_images(4), tmp_path)


@pytest.mark.parametrize("size", [(7, 9), (40, 33)])
def test_odd_sizes_and_patches(programs, tmp_path, size):
    network = random_layers("maamnet-nano", size)
    check(programs, network, preprocessing(size), random_images(3, size), tmp_path)


def shipped(count: int) -> tuple[LayeredNetwork, Preprocessing, np.ndarray]:
    run = shipped_run("maamnet-nano")
    how = Preprocessing.from_dict(run.read_meta().preprocessing)
    return read_layers(run), how, random_images(count, how.size)


def test_the_shipped_nano(programs, tmp_path):
    check(programs, *shipped(4), tmp_path)


@pytest.mark.slow
def test_the_shipped_nano_on_200_images(programs, tmp_path):
    check(programs, *shipped(200), tmp_path)


def grey(seed: int = 0) -> LayeredNetwork:
    """One layer: a dense one over the whole image."""
    weight = np.random.default_rng(seed).normal(0, 1, (2, 5, 3, 1)).astype(np.float32)
    dense = Convolution(weight, np.array([0.5, -0.5], np.float32))
    return LayeredNetwork((5, 3, 1), (Layer("dense", "conv", (0,), (1, 1, 2), (dense,)),))


def test_a_grey_image_and_one_layer(programs, tmp_path, rng):
    how = Preprocessing((5, 3), 1, (0.5,), (0.25,))
    check(programs, grey(), how, rng.integers(0, 256, (6, 5, 3, 1), np.uint8), tmp_path)


@st.composite
def networks(draw: Any) -> LayeredNetwork:
    """A few layers of any kind and size, then a dense one."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    small = st.integers(1, 7)
    image = draw(small), draw(small), draw(st.sampled_from([1, 3]))
    layers: list[Layer] = []

    def conv(outputs: int, rows: int, columns: int, depth: int, **window: Any) -> Convolution:
        shape = outputs, rows, columns, depth
        weight = rng.normal(0, (rows * columns * depth) ** -0.5, shape).astype(np.float32)
        return Convolution(weight, rng.normal(0, 0.3, outputs).astype(np.float32), **window)

    def add(kind: Any, *convs: Convolution, channels: int = 0, residual: bool = False) -> None:
        shape = layers[-1].shape if layers else image
        try:
            made = shape_after(kind, shape, convs, channels)
        except ValueError:  # no pixel would be left
            return
        added = residual and made == shape
        name = f"layer {len(layers)}"
        layers.append(Layer(name, kind, (len(layers),), made, convs, added))

    for _ in range(draw(st.integers(1, 5))):
        channels = (layers[-1].shape if layers else image)[2]
        kinds = ["conv", "grouped", "block", "block", "pool", "sum"] if layers else ["conv"]
        kind = draw(st.sampled_from(kinds))
        rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 5))
        window = {"stride": draw(st.integers(1, 3)), "padding": draw(st.integers(0, 3))}
        outputs = draw(st.integers(1, 9))
        relu = draw(st.booleans())
        if kind == "conv":
            add("conv", conv(outputs, rows, columns, channels, relu=relu, **window))
        elif kind == "grouped":
            groups = draw(st.sampled_from([g for g in range(1, 10) if channels % g == 0]))
            window["groups"] = groups
            depth = channels // groups
            add("conv", conv(groups * draw(st.integers(1, 3)), rows, columns, depth, **window))
        elif kind == "block":
            residual = draw(st.booleans())
            if residual:
                rows = columns = draw(st.sampled_from([1, 3, 5]))
                window = {"stride": 1, "padding": rows // 2}
                outputs = channels
            first = conv(channels, rows, columns, 1, groups=channels, relu=True, **window)
            add("block", first, conv(outputs, 1, 1, channels), residual=residual)
        elif kind == "pool":
            add("pool")
        else:
            add("sum", channels=draw(st.sampled_from([c for c in (1, 2, 3) if channels % c == 0])))
    if draw(st.booleans()):
        add("mean")
    height, width, channels = layers[-1].shape if layers else image
    add("conv", conv(draw(st.integers(2, 5)), height, width, channels))
    return LayeredNetwork(image, tuple(layers))


@settings(max_examples=60, deadline=None, suppress_health_check=tuple(HealthCheck))  # pyright: ignore
@given(network=networks(), seed=st.integers(0, 99))
def test_any_small_network(programs, tmp_path, network, seed):
    height, width, channels = network.image
    how = Preprocessing((height, width), channels, (0.5,) * channels, (0.25,) * channels)
    images = np.random.default_rng(seed).integers(0, 256, (3, *network.image), np.uint8)
    integers = quantize_layers(network, how, images)
    for form in ("plain", "dsp"):
        answers = programs[form].answer(make_block(integers), images, tmp_path)
        np.testing.assert_array_equal(answers.logits, integers.logits(images), form)
    exact = network.logits(how(images).transpose(0, 2, 3, 1))
    answers = programs["float32"].answer(make_block(network, how), images, tmp_path)
    np.testing.assert_allclose(answers.logits, exact, rtol=1e-4, atol=1e-4)


def unusual(network: Int8Network, seed: int) -> Int8Network:
    """The network with factors that no training would lead to, of all that the format allows."""
    rng = np.random.default_rng(seed)

    def other(conv: Int8Convolution) -> Int8Convolution:
        count = len(conv.bias)
        return dataclasses.replace(
            conv,
            multiplier=rng.integers(2**30, 2**31, count).astype(np.int32),
            shift=rng.choice([1, 20, 31, 32, 33, 34, 40, 62], count).astype(np.int32),
            residual=None
            if conv.residual is None
            else rng.choice([0, 1, 65535, 65536, 3 << 16, 2**30 + 1], count).astype(np.int32),
        )

    layers = tuple(
        dataclasses.replace(
            layer,
            convolutions=tuple(map(other, layer.convolutions)),
            **{"shift": 30 + seed} if layer.multiplier else {},
        )
        for layer in network.layers
    )
    return dataclasses.replace(network, layers=layers)


@pytest.mark.parametrize("seed", range(6))
def test_unusual_factors(programs, tmp_path, seed):
    images = random_images(8, seed=seed)
    network = unusual(quantize_layers(every_kind(seed), preprocessing(), images), seed)
    wanted = network.logits(images)
    for form in ("plain", "dsp"):
        answers = programs[form].answer(make_block(network), images, tmp_path)
        np.testing.assert_array_equal(answers.logits, wanted, form)


def class_maps(network: LayeredNetwork, inputs: np.ndarray) -> np.ndarray:
    """(N, pixels), of class n % K."""
    *_, last, _, _ = network.forward(inputs)
    weights = network.layers[-1].convolutions[0].weight.reshape(network.layers[-1].shape[2], -1)
    return np.stack([(x @ weights[n % len(weights)]).ravel() for n, x in enumerate(last)])


def test_class_maps(programs, tmp_path):
    network, how, images = every_kind(), preprocessing(), random_images(6)
    inputs = how(images).transpose(0, 2, 3, 1)
    wanted = class_maps(network, inputs)
    answers = programs["float32"].answer(make_block(network, how), images, tmp_path)
    np.testing.assert_allclose(answers.maps, wanted, rtol=1e-4, atol=1e-4)
    bias = network.layers[-1].convolutions[0].bias
    picked = [(n, n % 3) for n in range(6)]
    logits = np.array([answers.logits[n, k] - bias[k] for n, k in picked])
    np.testing.assert_allclose(answers.maps.mean(1), logits, rtol=1e-4, atol=1e-4)
    integers = quantize_layers(network, how, images)
    for form in ("plain", "dsp"):
        maps = programs[form].answer(make_block(integers), images, tmp_path).maps
        assert np.abs(maps - wanted).max() < 0.05 * np.abs(wanted).max()


def test_without_a_mean_there_is_no_map(programs, tmp_path, rng):
    how = Preprocessing((5, 3), 1, (0.5,), (0.25,))
    images = rng.integers(0, 256, (2, 5, 3, 1), np.uint8)
    assert programs["float32"].answer(make_block(grey(), how), images, tmp_path).maps.size == 0


@pytest.mark.parametrize("form", ["plain", "dsp", "float32"])
def test_a_block_of_another_kind_is_refused(programs, tmp_path, form):
    network: LayeredNetwork | Int8Network = every_kind()
    if form == "float32":
        network = quantize_layers(every_kind(), preprocessing(), random_images(2))
    block: Block = make_block(network, preprocessing())
    (tmp_path / "block").write_bytes(block.to_bytes())
    (tmp_path / "images").write_bytes(random_images(1).tobytes())
    command = [programs[form].path, *(tmp_path / name for name in ("block", "images", "out"))]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (3, "refused\n")
