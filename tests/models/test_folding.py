"""Folding: the same logits from a smaller network, whatever the module is made of."""

from __future__ import annotations

import copy

import mindspore as ms
import numpy as np
import pytest
import torch
from both_frameworks import randomise, same_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, nn
from torch import nn as torch_nn
from torch.nn import functional as F

import maam
import maam.mindspore
import maam.torch
from maam.cli.app import run
from maam.core.run_folder import RunFolder
from maam.deploy.folding import fuse_run
from maam.mindspore.fold import FoldedMAAM
from maam.mindspore.models.maamnet import AgentLayer
from maam.mindspore.onnx import export_onnx
from maam.models.agents import FUSIONS, PRESETS
from maam.models.registry import list_models
from maam.torch.fold import FoldedMAAM as TorchFoldedMAAM
from maam.torch.models.maamnet import AgentLayer as TorchAgentLayer

MODELS = list_models("maam*")


def outputs(nets, images):
    """What MindSpore's and PyTorch's network make of images."""
    net, other = nets
    with torch.inference_mode():
        theirs = other.eval()(torch.from_numpy(images)).numpy()
    return net.set_train(False)(Tensor(images)).asnumpy(), theirs


def assert_same(found, expected):
    assert np.abs(expected).max() > 1e-3
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-4 * max(1, np.abs(expected).max())


def values(net):
    """Copies of all parameters of either framework, by name."""
    framework = maam.torch if isinstance(net, torch_nn.Module) else maam.mindspore
    return framework.get_weights(net)


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@settings(max_examples=15, deadline=None)
@given(
    kernels=st.lists(st.sampled_from([1, 3, 5, 7]), min_size=1, max_size=6),
    layers=st.sampled_from([*PRESETS, None]),  # None: layers that no preset has
    pool=st.booleans(),
    fusion=st.sampled_from(FUSIONS),
    reduce=st.booleans(),
    coarse=st.booleans(),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 5)),
    size=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    seed=st.integers(0, 99),
)
def test_a_folded_module_computes_the_same(
    kernels, layers, pool, fusion, reduce, coarse, channels, size, seed
):
    resolutions = [1, 2, 4, 1, 2, 2][: len(kernels)] if coarse else None
    reduce = reduce or fusion == "concat"
    layers = layers or (3, "pool", 2, channels[1])
    options = (channels[0], channels[1], kernels, layers, pool, fusion, reduce, resolutions)
    net, other = maam.MAAM(*options), maam.torch.MAAM(*options)
    randomise(net, other, seed)
    images = np.random.default_rng(seed).normal(size=(2, channels[0], *size)).astype(np.float32)
    folded, folded_other = maam.fuse(net), maam.torch.fuse(other)
    for before, after in zip(
        outputs((net, other), images), outputs((folded, folded_other), images), strict=True
    ):
        assert after.shape == before.shape
        assert np.abs(after - before).max() <= 1e-4 * max(1, np.abs(before).max())
    assert_equal(values(folded_other), values(folded))


@pytest.fixture(params=MODELS)
def pair(request):
    """A model in both frameworks, same random weights and BatchNorm statistics, 2x8x9."""
    return same_weights(request.param, 3, 2, (8, 9))


def test_every_model_folds_and_stays_as_it_was(pair, rng):
    images = rng.normal(size=(3, 2, 8, 9)).astype(np.float32)
    before = [values(net) for net in pair]
    expected = outputs(pair, images)
    pair[0].set_train(True)
    pair[1].train()
    folded = maam.fuse(pair[0]), maam.torch.fuse(pair[1])
    assert (folded[0].training, folded[1].training) == (False, False)
    assert (pair[0].training, pair[1].training) == (True, True)
    for found, wanted in zip(outputs(folded, images), expected, strict=True):
        assert_same(found, wanted)
    for net, wanted, small in zip(pair, before, folded, strict=True):
        assert_equal(values(net), wanted)
        assert not [name for name in values(small) if "norm" in name or "alpha" in name]
    for found, wanted in zip(outputs(pair, images), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", ["resnet8", "mobilenetv2-x0.5", "shufflenetv2-x0.5"])
def test_peers_fold_too(name, rng):
    net, other = same_weights(name, 3, 2, (8, 8))
    images = torch.from_numpy(rng.normal(size=(3, 2, 8, 8)).astype(np.float32))
    folded = maam.torch.fuse(other)
    with torch.inference_mode():
        assert_same(folded(images).numpy(), other.eval()(images).numpy())
    assert not [name for name in values(folded) if "norm" in name]
    assert_equal(values(maam.fuse(net)), values(folded))


def test_names_are_the_same_in_both_frameworks_and_folding_twice_changes_nothing(pair):
    once = maam.fuse(pair[0]), maam.torch.fuse(pair[1])
    twice = maam.fuse(once[0]), maam.torch.fuse(once[1])
    assert_equal(values(once[1]), values(once[0]))
    for first, second in zip(once, twice, strict=True):
        assert first is not second
        assert_equal(values(second), values(first))
    assert {p.name for p in once[0].get_parameters()} == {
        name for name, _ in once[0].parameters_and_names()
    }


def test_a_compiled_network_folds_too(rng):
    """Its copy must not run the graph that was compiled for it."""
    net, _ = same_weights("maam-k135", 3, 1, (6, 6))
    images = Tensor(rng.normal(size=(2, 1, 6, 6)).astype(np.float32))
    ms.set_context(mode=ms.GRAPH_MODE)
    expected = net.set_train(False)(images).asnumpy()
    folded = maam.fuse(net)
    for parameter in net.get_parameters():  # nothing is shared
        ms.ops.assign(parameter, parameter * 0)
    assert_same(folded(images).asnumpy(), expected)


def test_modules_inside_any_network_are_folded(rng):
    inner = {"kernel_sizes": (1, 3), "layers": "p1"}
    net = nn.SequentialCell(
        nn.Conv2d(1, 2, 3, pad_mode="pad", padding=1, has_bias=True),
        nn.SequentialCell(maam.MAAM(2, 4, **inner), maam.MAAM(4, 3, pool=False)),
    )
    other = torch_nn.Sequential(
        torch_nn.Conv2d(1, 2, 3, padding=1),
        torch_nn.Sequential(maam.torch.MAAM(2, 4, **inner), maam.torch.MAAM(4, 3, pool=False)),
    )
    randomise(net, other, 1)
    images = rng.normal(size=(2, 1, 6, 6)).astype(np.float32)
    folded = maam.fuse(net), maam.torch.fuse(other)
    assert sum(isinstance(cell, FoldedMAAM) for _, cell in folded[0].cells_and_names()) == 2
    assert_equal(values(folded[1]), values(folded[0]))
    for found, wanted in zip(outputs(folded, images), outputs((net, other), images), strict=True):
        assert_same(found, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maam", "maam-multires", "maam-squeeze"])
def test_the_folded_network_is_exported(name, tmp_path):
    net, other = same_weights(name, 3, 1, (8, 12))
    assert export_onnx(maam.fuse(net), (1, 8, 12), tmp_path / "mindspore.onnx") < 1e-5
    assert (
        maam.torch.export_onnx(maam.torch.fuse(other), (1, 8, 12), tmp_path / "torch.onnx") < 1e-5
    )
    assert b".py" not in (tmp_path / "torch.onnx").read_bytes()  # no traces of this machine


def test_what_folding_saves():
    """Norms become biases, and the weights of equation 2 no longer multiply anything."""
    nets = same_weights("maam", 10, 3, (8, 8))
    for framework, net in zip((maam.mindspore, maam.torch), nets, strict=True):
        pair = net, framework.fuse(net)
        parameters = [framework.count_parameters(each) for each in pair]
        macs = [framework.count_macs(each, (3, 8, 8)) for each in pair]
        assert parameters[0] - parameters[1] == 3 * 64 + 3 * 128 + 128 + 3
        assert macs[0] - macs[1] == 3 * 128 * 4 * 4


@settings(max_examples=25, deadline=None)
@given(
    agents=st.lists(
        st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3, 7]), st.integers(1, 3)),
        min_size=1,
        max_size=4,
    ),
    stride=st.sampled_from([1, 2]),
    channels=st.integers(1, 4),
    size=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    seed=st.integers(0, 99),
)
def test_linear_agents_are_one_convolution(agents, stride, channels, size, seed):
    """Square, oblong and dilated agents, each convolved by itself."""
    layers = AgentLayer(channels, agents, stride), TorchAgentLayer(channels, agents, stride)
    randomise(*layers, seed)
    images = np.random.default_rng(seed).normal(size=(2, channels, *size)).astype(np.float32)
    with torch.inference_mode():
        x, linear = torch.from_numpy(images).double(), layers[1].agents
        total, first = torch.zeros(()), 0
        for weight, (rows, columns, dilation) in zip(linear.fusion.weights(), agents, strict=True):
            kernel = linear.taps[..., first : first + rows * columns].double()
            first += rows * columns
            padding = [dilation * (rows // 2), dilation * (columns // 2)]
            kernel = kernel.unflatten(2, (rows, columns))
            total = total + weight * F.conv2d(x, kernel, None, stride, padding, dilation, channels)
        expected = F.relu(copy.deepcopy(layers[1].norm).double().eval()(total)).numpy()
    folded = maam.fuse(layers[0]), maam.torch.fuse(layers[1])
    for found in (*outputs(layers, images), *outputs(folded, images)):
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-4 * max(1, np.abs(expected).max())
    assert_equal(values(folded[1]), values(folded[0]))
    assert values(folded[0]).keys() == {"conv.weight", "conv.bias"}


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("maamnet-nano", 79_978, 12_449_024),
        ("maamnet-tiny", 226_330, 37_781_376),
        ("maamnet-small", 794_250, 105_504_512),
        ("maamnet-base", 1_532_042, 223_851_520),
    ],
)
def test_what_is_deployed(name, parameters, macs):
    net = maam.torch.fuse(maam.torch.create_model(name))
    assert maam.torch.count_parameters(net) == parameters
    assert maam.torch.count_macs(net, (3, 32, 32)) == macs


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of MAAMNet on digits."""
    out = tmp_path_factory.mktemp("runs") / "nano"
    options = {"data": "digits", "model": "maamnet-nano", "limit": 64, "epochs": 1}
    return maam.train(**options, batch_size=32, out=out).run


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["mindspore", "torch"])
def test_a_folded_run_takes_the_place_of_the_run(trained, framework, tmp_path, capsys):
    assert run(["fuse", str(trained), "--framework", framework, "--out", "small"]) == 0
    assert "Milliseconds per image" in capsys.readouterr().out
    small, whole = tmp_path / "small", RunFolder(trained).read_meta()
    meta = RunFolder(small).read_meta()
    assert meta.fused and meta.parameters and whole.parameters
    assert meta.parameters < whole.parameters
    scores, expected = maam.evaluate(small), maam.evaluate(trained)
    assert scores["confusion"] == expected["confusion"]
    assert scores["seen"] == expected["seen"] is not None
    assert scores["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    digit = np.full((8, 8), 99, np.uint8)
    (ours,), (theirs,) = maam.predict(small, [digit]), maam.predict(trained, [digit])
    assert ours.classes == theirs.classes
    assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-5)


@pytest.mark.slow
def test_what_can_not_be_folded_says_why(trained, tmp_path, capsys):
    folder, _ = fuse_run(trained, tmp_path / "small")
    for arguments, words in (
        ([str(folder)], "is folded already"),
        ([str(trained), "--out", str(folder)], "exists already"),
        ([str(tmp_path)], "is not a run folder"),
    ):
        assert run(["fuse", *arguments]) == 2
        assert words in " ".join(capsys.readouterr().err.split())


def test_a_layer_used_twice_stays_where_it_is(rng):
    relu = nn.ReLU()
    net = nn.SequentialCell(relu, relu, maam.MAAM(3, 3, pool=False)).set_train(False)
    x = Tensor(rng.random((1, 3, 8, 8), dtype=np.float32))
    folded = maam.fuse(net)
    assert [type(cell) for cell in folded] == [nn.ReLU, nn.ReLU, FoldedMAAM]
    assert_same(folded(x).asnumpy(), net(x).asnumpy())


def test_a_module_with_two_places_is_folded_in_both(rng):
    torch.manual_seed(0)
    module = maam.torch.MAAM(3, 3, pool=False)
    net = torch_nn.Sequential(module, torch_nn.Sequential(module), module).eval()
    x = torch.from_numpy(1e3 * rng.random((1, 3, 8, 8), dtype=np.float32))
    folded = maam.torch.fuse(net)
    places = [folded.get_submodule(name) for name in ("0", "1.0", "2")]
    assert isinstance(places[0], TorchFoldedMAAM)
    assert places[0] is places[1] is places[2]
    with torch.inference_mode():
        assert_same(folded(x).numpy(), net(x).numpy())


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["graph", "eager"])
def test_linear_agents_train_in_mixed_precision(mode, tmp_path):
    options = {"data": "digits", "model": "maamnet-nano", "limit": 64, "epochs": 1, "mode": mode}
    maam.train(**options, batch_size=32, precision="amp", out=tmp_path / "run")
