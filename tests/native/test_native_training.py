"""Training steps really run our operators: all of them, where the models have their layers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
import torch
from mindspore import Tensor

import maam.mindspore
import maam.torch
from maam.core.config import TrainConfig
from maam.mindspore import step as mindspore_step
from maam.native import build
from maam.torch.runtime import place

READY, REASON = build.status()
needs_operators = pytest.mark.skipif(not READY, reason=REASON)

CONFIG = TrainConfig(optimizer="sgd")
IMAGES = np.random.default_rng(0).random((4, 3, 32, 32), dtype=np.float32)
LABELS = np.arange(4)

# Every convolution of stride 1, but no gradient of the image; norms that a ReLU follows.
MAAM = {"Convolution": 3, "ConvolutionGradInput": 2, "ConvolutionGradWeight": 3}
MAAM |= {"Epilogue": 3, "EpilogueGrad": 3}
# The stem, and nine blocks.
NANO = {"ChainForward": 10, "ChainGrad": 9, "ChainGradButInput": 1}
# Two shortcuts change the shape.
RESNET = {"ChainForward": 12, "ChainGrad": 11, "ChainGradButInput": 1}
CNN = {"Pooled2x2": 2, "PooledGrad": 1, "PooledGradButInput": 1}


@needs_operators
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("maam", MAAM),
        ("cnn", CNN),
        pytest.param("maamnet-nano", NANO, marks=pytest.mark.slow),
        pytest.param("resnet20", RESNET, marks=pytest.mark.slow),
    ],
)
def test_the_graph_of_mindspores_step_has_them(name, expected, tmp_path):
    ms.set_context(mode=ms.GRAPH_MODE, save_graphs=2, save_graphs_path=str(tmp_path))
    try:
        net = maam.mindspore.create_model(name, 4, 3, (32, 32)).set_train(True)
        optimizer = mindspore_step.make_optimizer(net, CONFIG)
        step = mindspore_step.make_train_step(net, optimizer, CONFIG)
        rate, decay = Tensor(0.1, ms.float32), Tensor(0.0, ms.float32)
        step(Tensor(IMAGES), Tensor(LABELS.astype(np.int32)), rate, decay)
    finally:
        ms.set_context(save_graphs=0)
    assert maam.mindspore.native_operators(net)
    (graph,) = tmp_path.glob("graph_build_*.ir")
    text = graph.read_text()
    assert Counter(re.findall(r'[ {]func_name: "[^"]*\.so:(\w+)"', text)) == expected
    assert "Conv2D" not in text


@needs_operators
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("maam", {"_NormBackward": 1}),  # the compression's; agents are quicker as they are
        ("maamnet-nano", {"_NormBackward": 19, "_DepthwiseBackward": 9}),
        ("mobilenetv2-x0.5", {"_NormBackward": 52, "_DepthwiseBackward": 3}),
    ],
)
def test_the_gradients_of_pytorchs_step_are_ours(name, expected):
    net = place(maam.torch.create_model(name, 4, 3, (32, 32))).train()
    y = net(torch.from_numpy(IMAGES).contiguous(memory_format=torch.channels_last))
    seen, waiting = set(), [y.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    names = Counter(type(node).__name__ for node in seen)
    assert {key: count for key, count in names.items() if key.startswith("_")} == expected


STEP = """
import sys, torch, maam.torch
from maam.core.config import TrainConfig
from maam.torch.runtime import place
from maam.torch.step import make_optimizer, make_train_step
net = place(maam.torch.create_model(sys.argv[1], 4, 3, (32, 32))).train()
print(maam.torch.native_operators(net))
images = torch.rand(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)
config = TrainConfig()
make_train_step(net, make_optimizer(net, config), config)(images, torch.arange(4), 0.1)
plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 2))
print(maam.torch.native_operators(net), maam.torch.native_operators(plain))
"""


@pytest.mark.slow
@needs_operators
@pytest.mark.parametrize("name", ["maam", "maamnet-nano", "separable-resnet"])
@pytest.mark.parametrize(("wish", "expected"), [("1", "True"), ("0", "False")])
def test_pytorch_knows_them_once_a_step_has_used_them(name, wish, expected):
    path = str(Path(maam.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": path, "MAAM_NATIVE": wish}
    said = subprocess.check_output([sys.executable, "-c", STEP, name], env=environment, text=True)
    assert said.split() == ["False", expected, "False"]


@needs_operators
@pytest.mark.parametrize("name", ["maam", "maamnet-nano", "resnet8", "cnn"])
def test_a_network_that_was_folded_has_none_left(name):
    net = maam.mindspore.create_model(name, 4, 3, (32, 32))
    assert maam.mindspore.native_operators(net)
    folded = maam.mindspore.fuse(net)
    assert maam.mindspore.native_operators(folded) == (name == "cnn")  # which has no norms to fold
