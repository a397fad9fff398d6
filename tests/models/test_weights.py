"""The weights that come with the package: small, described, and as good as their cards say."""

from __future__ import annotations

import os

import numpy as np
import pytest

import maam
import maam.mindspore
import maam.torch
from maam import MaamError
from maam.core.tensors import load_tensors
from maam.data import load_dataset
from maam.data.preprocessing import Preprocessing
from maam.deploy.int8_file import read_int8
from maam.deploy.onnx import Network
from maam.deploy.reading import read_layers
from maam.models.weights import (
    DEFAULT,
    TINY_IMAGENET,
    WEIGHTS,
    shipped,
    shipped_run,
    source_run,
    sources,
)

BUDGETS = {  # parameters and multiply-accumulates, as deployed
    "maamnet-nano": (80_000, 12_500_000),
    "maamnet-tiny": (270_000, None),
    "maamnet-small": (1_000_000, None),
    "maamnet-base": (2_300_000, None),
}
RECIPES = {
    "maamnet-nano": "maamnet-nano-long-taught",
    "maamnet-tiny": "maamnet-tiny-long-taught-again",
    "maamnet-small": "maamnet-small-long-taught-again",
    "maamnet-base": "maamnet-base",
}


def test_all_together_are_small():
    assert DEFAULT in shipped()
    assert set(shipped()) <= set(BUDGETS)
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*")) < 16e6


@pytest.mark.parametrize("name", shipped())
def test_the_card_describes_the_network(name):
    net, meta = maam.torch.load_model(name)
    net = maam.torch.fuse(net)
    parameters, macs = maam.torch.count_parameters(net), maam.torch.count_macs(net, (3, 32, 32))
    assert parameters <= BUDGETS[name][0]
    assert BUDGETS[name][1] is None or macs <= BUDGETS[name][1]
    assert meta.deployed == {"parameters": parameters, "macs": macs}
    assert meta.metrics is not None
    card = shipped_run(name).card.read_text()
    accuracy = f"{100 * meta.metrics['accuracy']:.2f} %"
    recipe = f"--recipe recipes/{RECIPES[name]}.toml"
    for figure in (f"{parameters:,}", f"{macs:,}", accuracy, recipe):
        assert figure in card


@pytest.mark.parametrize("name", shipped())
def test_the_file_that_ships_computes_the_same(name):
    import onnx
    import torch

    folder = shipped_run(name)
    assert b".py" not in folder.model.read_bytes()  # no traces of a machine
    for tensor in onnx.load(str(folder.model)).graph.initializer:
        half = tensor.data_type == onnx.TensorProto.FLOAT16
        own = tensor.name.startswith("maam/")  # of the preprocessing
        assert half == (len(tensor.dims) > 1 and not own), tensor.name  # as the card says
    network = Network(folder.model)
    meta = folder.read_meta()
    assert network.meta is not None
    assert (network.meta.classes, network.meta.shipped) == (meta.classes, True)
    assert network.meta.metrics is not None and meta.metrics is not None
    assert network.meta.metrics["accuracy"] == meta.metrics["accuracy"]
    golden, _ = load_tensors(folder.golden)
    np.testing.assert_allclose(network(golden["images"]), golden["logits"], atol=1e-3)
    net, _ = maam.torch.load_model(name)
    assert {array.dtype for array in maam.torch.get_weights(net).values()} == {np.dtype("float32")}
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    with torch.inference_mode():
        how = Preprocessing.from_dict(meta.preprocessing)
        expected = net(torch.from_numpy(how(images))).numpy()
    # Its folded weights are rounded to float16.
    assert np.abs(network(images) - expected).max() < 0.02 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.skipif("MAAM_DATA" not in os.environ, reason="MAAM_DATA names no folder of CIFAR-10")
@pytest.mark.parametrize("name", shipped())
def test_the_cards_score_is_that_of_the_file(name):
    folder = shipped_run(name)
    scores = maam.evaluate(folder.path, data="cifar10")
    metrics = folder.read_meta().metrics
    assert metrics is not None
    assert scores["accuracy"] == metrics["accuracy"]
    row = f"| Test accuracy, `model.onnx` | {100 * scores['accuracy']:.2f} % |"
    assert row in folder.card.read_text()


@pytest.mark.parametrize("name", ["maamnet-nano", "maamnet-tiny"])
def test_the_integers_are_those_of_the_weights(name):
    folder = shipped_run(name)
    network = read_int8(folder)  # if not: experiments/int8.py
    meta = folder.read_meta()
    how = Preprocessing.from_dict(meta.preprocessing)
    images = load_dataset("digits").test.pixels()[:64]
    images = images.repeat(4, 1).repeat(4, 2).repeat(3, 3)
    expected = read_layers(folder).logits(how(images).transpose(0, 2, 3, 1))
    found = network.logits(images) * network.logit_scale
    assert np.sqrt(((found - expected) ** 2).mean()) < 0.15 * expected.std()
    onnx = Network(folder.int8_model)(images)
    assert np.median(np.abs(onnx - found).max(1)) <= network.logit_scale


@pytest.mark.slow
@pytest.mark.skipif("MAAM_DATA" not in os.environ, reason="MAAM_DATA names no folder of CIFAR-10")
@pytest.mark.parametrize("name", shipped())
def test_pytorch_scores_the_weights_alike(name):
    scores = maam.evaluate(shipped_run(name).path, data="cifar10", framework="torch")
    metrics = shipped_run(name).read_meta().metrics
    assert metrics is not None
    assert abs(scores["accuracy"] - metrics["accuracy"]) <= 0.0005


@pytest.mark.slow
@pytest.mark.skipif("MAAM_DATA" not in os.environ, reason="MAAM_DATA names no folder of CIFAR-10")
def test_mindspore_gives_the_weights_pytorchs_logits():
    """So its score is PyTorch's: on a part of the images, as it takes long for all."""
    images = load_dataset("cifar10").test.take(np.arange(250))
    logits = []
    for framework in (maam.mindspore, maam.torch):
        net, meta = framework.load_model(DEFAULT)
        how = Preprocessing.from_dict(meta.preprocessing)
        logits.append(framework.compute_logits(net, images, how))
    np.testing.assert_allclose(logits[0], logits[1], rtol=1e-3, atol=1e-3)
    accuracy = (logits[0].argmax(1) == images.labels).mean()
    assert abs(accuracy - (meta.metrics or {})["accuracy"]) < 0.05


def test_weights_to_begin_with_are_named_by_what_they_were_learned_from(tmp_path):
    assert sources("maamnet-nano") == ["cifar10", TINY_IMAGENET]
    assert sources("cnn") == []
    folder = source_run("maamnet-nano", TINY_IMAGENET)
    meta = folder.read_meta()
    assert len(meta.classes) == 200 and meta.metrics is not None
    assert f"{100 * meta.metrics['accuracy']:.2f} %" in folder.card.read_text()
    with pytest.raises(MaamError, match="`weights=tiny-imagenet`: no such weights"):
        source_run("maamnet-base", TINY_IMAGENET)
    options = {"data": "digits", "model": "maamnet-nano", "framework": "torch", "limit": 64}
    result = maam.train(
        **options, pretrained=True, weights=TINY_IMAGENET, epochs=1, out=tmp_path / "run"
    )
    assert "learned from Tiny ImageNet" in (result.run / "README.md").read_text()
