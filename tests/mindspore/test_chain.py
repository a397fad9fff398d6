"""Layers as one operator against the same layers apart, and where they stay apart."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, nn, ops

import maam
from maam.core.config import TrainConfig
from maam.data.base import ArraySplit
from maam.data.preprocessing import Preprocessing
from maam.mindspore.layers import ConvNorm
from maam.mindspore.models import create_model
from maam.mindspore.models.maamnet import Block, MAAMNet
from maam.mindspore.models.peers import ResidualBlock
from maam.mindspore.ops.chain import Chain
from maam.mindspore.step import (
    Answers,
    block_chains,
    compute_logits,
    freeze,
    halve,
    keeps_float32,
    make_optimizer,
    make_train_step,
)
from maam.models.variants import AGENTS
from maam.native import build

READY, REASON = build.library("mindspore", "chain")
needs_operator = pytest.mark.skipif(not READY, reason=REASON)


def tensor(array):
    return Tensor(np.asarray(array, np.float32))


def set_parameters(cell, rng):
    for parameter in cell.get_parameters():
        values = rng.standard_normal(parameter.shape) * (0.2 if parameter.ndim > 1 else 0.3)
        positive = parameter.name.endswith("variance")
        gamma = parameter.name.endswith("gamma")
        ops.assign(parameter, tensor(abs(values) + 0.5 if positive else values + gamma))


def outcome(cell, x, chained):
    """Value, gradients of x and all parameters, and running statistics after a pass in training."""
    set_parameters(cell, np.random.default_rng(1))
    cell.set_train(True)
    alone = (Chain([cell.stride], cell.relu).set_train(True),) if isinstance(cell, ConvNorm) else ()

    def forward(x):
        last = x.transpose(0, 2, 3, 1)
        y = cell.chained(last, *alone).transpose(0, 3, 1, 2) if chained else cell(x)
        weights = tensor(np.random.default_rng(2).standard_normal(y.shape))
        return (y * weights).sum(), y

    differentiate = ms.value_and_grad(forward, 0, cell.trainable_params(), has_aux=True)
    (_, value), (to_x, to_parameters) = differentiate(tensor(x))
    results = {"value": value, "x": to_x}
    for parameter, gradient in zip(cell.trainable_params(), to_parameters, strict=True):
        results[parameter.name] = gradient
    running = {p.name: p.value() for p in cell.get_parameters() if not p.requires_grad}
    return {name: result.asnumpy().copy() for name, result in (results | running).items()}


def check(cell, x):
    ours, plain = outcome(cell, x, True), outcome(cell, x, False)
    assert ours.keys() == plain.keys()
    for name, expected in plain.items():
        # Sums over a batch, such as gradients in front of a norm, may all but cancel.
        atol = 3e-5 * max(np.abs(expected).max(), 0.1)
        np.testing.assert_allclose(ours[name], expected, rtol=1e-4, atol=atol, err_msg=name)


CASES = {
    "kind": st.sampled_from(["stem", "block", "residual"]),
    "batch": st.integers(2, 19),
    "channels": st.sampled_from([16, 32, 48]),
    "outputs": st.sampled_from([16, 48, 64]),
    "height": st.integers(2, 11),
    "width": st.integers(2, 18),
    "stride": st.sampled_from([1, 2]),
    "seed": st.integers(0, 99),
}


def cell_and_images(kind, batch, channels, outputs, height, width, stride, seed):
    outputs = channels if seed % 2 else outputs
    if kind == "stem":
        channels = 3
        cell = ConvNorm(3, outputs, 3, stride)
    elif kind == "block":
        cell = Block(channels, outputs, AGENTS, stride)
    else:
        cell = ResidualBlock(channels, outputs, stride, tiny=False)
    return cell, np.random.default_rng(seed).standard_normal((batch, channels, height, width))


@needs_operator
@settings(max_examples=24, deadline=None, derandomize=True)
@given(**CASES)
def test_equals_the_layers_apart(**case):
    check(*cell_and_images(**case))


@needs_operator
@settings(max_examples=24, deadline=None, derandomize=True)
@given(**CASES)
def test_inference_equals_the_layers_apart(**case):
    cell, x = cell_and_images(**case)
    set_parameters(cell, np.random.default_rng(1))
    cell.set_train(False)
    alone = (Chain([cell.stride], cell.relu),) if isinstance(cell, ConvNorm) else ()
    before = [parameter.asnumpy().copy() for parameter in cell.get_parameters()]
    chained = cell.chained(tensor(x).transpose(0, 2, 3, 1), *alone).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(chained.asnumpy(), cell(tensor(x)).asnumpy(), rtol=1e-4, atol=1e-4)
    for parameter, value in zip(cell.get_parameters(), before, strict=True):
        assert (parameter.asnumpy() == value).all(), parameter.name


@needs_operator
def test_a_single_image():
    check(Block(16, 16, AGENTS), np.random.default_rng(0).standard_normal((1, 16, 5, 4)))


def train(name, channels=3, **options):
    """Two steps of a network; its losses and parameters."""
    rng = np.random.default_rng(0)
    net = create_model(name, in_channels=channels)
    set_parameters(net, rng)
    config = TrainConfig(epochs=1, optimizer="sgd", **options)
    step = make_train_step(net, make_optimizer(net, config), config)
    net.set_train(True)
    images = tensor(rng.random((4, channels, 32, 32)))
    arguments = images, Tensor(np.arange(4, dtype=np.int32)), tensor(0.01), tensor(0)
    losses = [float(step(*arguments)[0]) for _ in range(2)]
    return losses, {p.name: p.asnumpy().copy() for p in net.get_parameters()}


@pytest.mark.slow
@needs_operator
@pytest.mark.parametrize("name", ["maamnet-nano", "resnet20"])
def test_training_steps_with_and_without(name, monkeypatch):
    ms.set_context(mode=ms.GRAPH_MODE)
    first, again = train(name), train(name)
    monkeypatch.setenv("MAAM_NATIVE", "0")
    plain = train(name)
    assert first[0] == again[0]  # to the last bit
    np.testing.assert_allclose(first[0], plain[0], rtol=1e-4)
    assert first[1].keys() == plain[1].keys()
    for key, value in first[1].items():
        assert (value == again[1][key]).all(), key
        np.testing.assert_allclose(value, plain[1][key], rtol=1e-2, atol=2e-3, err_msg=key)


@needs_operator
def test_the_gradient_of_the_image_is_left_out(tmp_path):
    """Nobody asks for it, and it costs as much as the layer itself."""
    cell, chain = ConvNorm(3, 16, 3).set_train(True), Chain([1], True).set_train(True)

    def total(x):
        return cell.chained(x, chain).sum()

    ms.set_context(mode=ms.GRAPH_MODE, save_graphs=2, save_graphs_path=str(tmp_path))
    try:
        ms.grad(total, None, cell.trainable_params())(tensor(np.ones((2, 4, 4, 3))))
    finally:
        ms.set_context(save_graphs=0)
    (graph,) = tmp_path.glob("graph_build_*.ir")
    assert "ChainGradButInput" in graph.read_text()
    assert ':ChainGrad"' not in graph.read_text()


@needs_operator
def test_what_a_chain_cannot_serve_stays_apart():
    images = tensor(np.random.default_rng(0).random((2, 3, 32, 32)))
    net = create_model("maamnet-nano").set_train(True)
    assert net.chains()
    freeze(net, "blocks.2.*")  # its norms have statistics of their own
    assert not net.chains()
    assert net(images).shape == (2, 10)
    folded = maam.fuse(create_model("maamnet-nano")).set_train(True)
    assert not folded.chains()
    assert folded(images).shape == (2, 10)
    assert not create_model("resnet8").set_train(True).chains()  # a shortcut without a norm


class Doubled(Block):
    def construct(self, x):
        return 2 * super().construct(x)


ALTERED = {
    "eps": ("maamnet-nano", lambda net: setattr(net.blocks[1].reduce.norm, "eps", 0.1)),
    "momentum": ("maamnet-nano", lambda net: replace_norm(net, 2, momentum=0.5)),
    "bias": ("resnet20", lambda net: replace_stem(net, has_bias=True)),
    "dilation": ("resnet20", lambda net: replace_stem(net, padding=2, dilation=2)),
    "relu6": ("resnet20", lambda net: setattr(net.blocks[1], "relu", nn.ReLU6())),
    "subclass": ("maamnet-nano", lambda net: replace_block(net, 2, Doubled(64, 64, AGENTS))),
    "identity": ("resnet20", lambda net: replace_block(net, 0, nn.Identity())),
    "gelu": ("maamnet-nano", lambda net: setattr(net.stem, "activation", nn.GELU())),
    "statistics": ("maamnet-nano", lambda net: use_its_batch(net.blocks[1].reduce.norm)),
    "convolution": ("resnet20", lambda net: replace_stem(net, kind=Twice)),
    "norm": ("maamnet-nano", lambda net: replace_norm(net, 2, kind=Shifted)),
    "name": ("maamnet-nano", lambda net: setattr(net.blocks[1].layer, "activation", ReLU())),
    "pool": ("cnn", lambda net: setattr(net, "pool", nn.AvgPool2d(2, 2))),
    "window": ("cnn", lambda net: setattr(net, "pool", nn.MaxPool2d(3, 2, "same"))),
    "an agent's window": ("maam", lambda net: set_pool(net.maam, nn.MaxPool2d(3, 2, "same"))),
    "windows as pairs": ("maam", lambda net: set_pool(net.maam, nn.MaxPool2d((2, 2), (2, 2)))),
    "fusion": ("maam", lambda net: setattr(net.maam, "fusion", FirstAgent())),
}


class FirstAgent(nn.Cell):
    def construct(self, x):
        return x[:, : x.shape[1] // 3]


def set_pool(module, pool):
    module.agents[0].layers[2] = pool


class Twice(nn.Conv2d):
    def construct(self, x):
        return 2 * super().construct(x)


class Shifted(nn.BatchNorm2d):
    def construct(self, x):
        return super().construct(x) + 1


class ReLU(nn.ReLU):
    def construct(self, x):
        return super().construct(x) / 2


def use_its_batch(norm):
    norm.use_batch_statistics = True


def replace_stem(net, padding=1, kind=nn.Conv2d, **options):
    conv = kind(3, 16, 3, pad_mode="pad", padding=padding, **options)
    net.stem.conv = conv
    name_parameters(conv, "stem.conv")


def replace_norm(net, place, kind=nn.BatchNorm2d, **options):
    layer = net.blocks[place].layer
    layer.norm = kind(layer.norm.num_features, **options)
    name_parameters(layer.norm, f"blocks.{place}.layer.norm")


def replace_block(net, place, block):
    net.blocks[place] = block
    name_parameters(block, f"blocks.{place}")


def name_parameters(cell, prefix):
    for name, parameter in cell.parameters_and_names():
        parameter.name = f"{prefix}.{name}"


@needs_operator
@pytest.mark.parametrize("case", ALTERED)
def test_an_altered_network_is_computed_as_it_is_now(case, monkeypatch):
    name, alter = ALTERED[case]
    images = tensor(np.random.default_rng(0).random((2, 3, 16, 16)))
    results = []
    for native in ("1", "0"):
        monkeypatch.setenv("MAAM_NATIVE", native)
        net = create_model(name, image_size=(16, 16))
        alter(net)
        set_parameters(net, np.random.default_rng(1))
        logits = net.set_train(True)(images)
        running = {p.name: p.asnumpy() for p in net.get_parameters() if not p.requires_grad}
        answers = Answers(net).set_train(False)(images)
        results.append({"logits": logits.asnumpy(), "answers": answers.asnumpy(), **running})
    assert results[0].keys() == results[1].keys()
    for key, value in results[0].items():
        np.testing.assert_allclose(value, results[1][key], rtol=1e-3, atol=1e-3, err_msg=key)


class Halved(MAAMNet):
    def construct(self, x):
        return super().construct(x) / 2


PARTS = {
    "a block": ("maamnet-nano", lambda net: net.blocks[2]),
    "a norm": ("maamnet-nano", lambda net: net.blocks[2].layer.norm),
    "the norm of a layer": ("resnet20", lambda net: net.blocks[2].first.norm),
}


@needs_operator
@pytest.mark.parametrize("case", PARTS)
def test_a_part_in_inference_is_trained_as_it_is(case, monkeypatch):
    name, part = PARTS[case]
    images = tensor(np.random.default_rng(0).random((2, 3, 16, 16)))
    results = []
    for native in ("1", "0"):
        monkeypatch.setenv("MAAM_NATIVE", native)
        net = create_model(name, image_size=(16, 16))
        set_parameters(net, np.random.default_rng(1))
        net.set_train(True)
        part(net).set_train(False)
        differentiate = ms.value_and_grad(lambda x: net(x).sum(), None, net.trainable_params())  # noqa: B023
        value, gradients = differentiate(images)
        results.append([value, *gradients])
    for ours, plain in zip(*results, strict=True):
        np.testing.assert_allclose(ours.asnumpy(), plain.asnumpy(), rtol=1e-2, atol=1e-2)


@needs_operator
def test_scores_are_of_the_weights_as_they_are_now(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    split = ArraySplit(images, np.arange(5, dtype=np.int32), tuple(map(str, range(5))))
    logits = []
    for native in ("1", "0"):
        monkeypatch.setenv("MAAM_NATIVE", native)
        net = create_model("maamnet-nano", image_size=(16, 16))
        for seed, mode in ((1, True), (2, False)):
            set_parameters(net, np.random.default_rng(seed))
            net.set_train(mode)
            logits.append(
                compute_logits(net, split, Preprocessing.fit(split, "unit"), batch_size=2)
            )
            assert net.training == net.blocks[1].training == mode
    assert np.abs(logits[0] - logits[1]).max() > 0.1
    for ours, plain in zip(logits[:2], logits[2:], strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-3, atol=1e-4)


def relative(value, expected):
    return np.linalg.norm(value - expected) / np.linalg.norm(expected)


@needs_operator
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(2, 32, 9, 7), (5, 16, 13, 16)])
def test_bfloat16_is_close(shape, stride):
    cell = Block(shape[1], 32, AGENTS, stride)
    x = np.random.default_rng(0).standard_normal(shape)
    exact = outcome(cell, x, True)
    cell.chain.halve(True)
    rounded = outcome(cell, x, True)
    assert (rounded["value"] != exact["value"]).any()
    for name, expected in exact.items():
        if not name.endswith("alpha"):  # a sum that all but cancels
            assert relative(rounded[name], expected) < 0.05, name


@needs_operator
def test_mixed_precision_is_bfloat16_where_a_network_has_chains():
    net = create_model("maamnet-nano", image_size=(16, 16))
    assert halve(net, True) and all(block.chain.half for block in net.blocks)
    assert not keeps_float32(net)
    net.blocks[1].reduce.norm.use_batch_statistics = False  # as frozen
    assert halve(net, True) and keeps_float32(net)
    assert not halve(net, False) and not any(block.chain.half for block in net.blocks)
    assert not halve(create_model("resnet20"), True)
    stages = [(64, 3), (64, 3), (64, 3)]
    assert not halve(Halved(10, 3, (16, 16), stages, AGENTS), True)


@pytest.mark.slow
@needs_operator
def test_training_steps_in_bfloat16_stay_close():
    ms.set_context(mode=ms.GRAPH_MODE)
    exact, rounded = train("maamnet-nano"), train("maamnet-nano", precision="amp")
    assert exact[0] != rounded[0]
    np.testing.assert_allclose(rounded[0], exact[0], rtol=2e-2)


@pytest.mark.slow
@needs_operator
@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE])
def test_a_teacher_answers_by_chains(mode, monkeypatch):
    ms.set_context(mode=mode)
    images = tensor(np.random.default_rng(0).random((4, 3, 16, 16)))
    losses = []
    for native in ("1", "0"):
        monkeypatch.setenv("MAAM_NATIVE", native)
        net, teacher = (create_model(each, image_size=(16, 16)) for each in ("mlp", "maamnet-nano"))
        for cell in (net, teacher):
            set_parameters(cell, np.random.default_rng(1))
        name_parameters(teacher, "teacher")
        before = [p.asnumpy().copy() for p in teacher.get_parameters()]
        config = TrainConfig(teacher_weight=0.9, mode="eager" if mode else "auto")
        optimizer, answers = make_optimizer(net, config), Answers(teacher)
        step = make_train_step(net, optimizer, config, teacher=answers)
        net.set_train(True)
        labels = Tensor(np.arange(4, dtype=np.int32))
        losses.append([float(step(images, labels, tensor(0.01), tensor(0))[0]) for _ in range(2)])
        for parameter, value in zip(teacher.get_parameters(), before, strict=True):
            assert (parameter.asnumpy() == value).all(), parameter.name
    np.testing.assert_allclose(*losses, rtol=1e-4)


@needs_operator
@pytest.mark.skipif(not build.library("mindspore", "chain_half")[0], reason="it does not compile")
def test_inference_in_bfloat16_is_close():
    images = tensor(np.random.default_rng(0).random((4, 3, 16, 16)))
    logits = []
    for half in (False, True):
        net = create_model("maamnet-nano", image_size=(16, 16))
        set_parameters(net, np.random.default_rng(1))
        if half:
            for chain in block_chains(net):
                chain.halve_inference()
        logits.append(Answers(net).set_train(False)(images).asnumpy())
    assert (logits[1] != logits[0]).any()
    assert relative(logits[1], logits[0]) < 0.05


@needs_operator
def test_inference_computes_what_a_subclass_does():
    net = create_model("maamnet-nano", image_size=(16, 16))
    stages = [(64, 3), (64, 3), (64, 3)]
    halved = Halved(10, 3, (16, 16), stages, AGENTS)
    images = tensor(np.random.default_rng(0).random((2, 3, 16, 16)))
    for cell in (net, halved):
        set_parameters(cell, np.random.default_rng(1))
        answers = Answers(cell).set_train(False)(images).asnumpy()
        np.testing.assert_allclose(answers, cell(images).asnumpy(), rtol=1e-3, atol=1e-4)


@needs_operator
def test_statistics_of_large_maps_far_from_zero():
    cell = ConvNorm(16, 16, 1)
    images = np.random.default_rng(0).random((1, 16, 224, 224)) + 1000
    maps = cell.conv(tensor(images)).asnumpy().astype(np.float64)
    chain = Chain([1], True).set_train(True)
    cell.set_train(True).chained(tensor(images.transpose(0, 2, 3, 1)), chain)
    share = cell.norm.momentum  # of the batch in the running statistics, which began with 1
    variance = (cell.norm.moving_variance.asnumpy() - (1 - share)) / share
    np.testing.assert_allclose(variance, maps.var((0, 2, 3), ddof=1), rtol=1e-2)


def digests():
    """Of the results for fixed numbers, large enough for threads."""
    x = np.random.default_rng(0).standard_normal((37, 32, 16, 15))
    results = outcome(Block(32, 64, AGENTS, 2), x, True)
    return [hashlib.sha256(result.tobytes()).hexdigest() for result in results.values()]


@pytest.mark.slow
@needs_operator
def test_the_result_does_not_depend_on_the_number_of_threads():
    code = (
        "import os, sys; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1]);"
        "import maam, test_chain; print(*test_chain.digests())"
    )
    paths = [str(Path(maam.__file__).parents[1]), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    alone = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True
    )
    assert alone.stdout.split() == digests()
