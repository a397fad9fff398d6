"""Folding networks that were altered: the same logits, folded where it can be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from layered_nets import random_array
from mindspore import Tensor, nn
from torch import nn as torch_nn

import maam
import maam.mindspore
import maam.torch
from maam.mindspore.maam import Reduce
from maam.mindspore.weights import assign_tensors
from maam.torch import weights as torch_weights
from maam.torch.layers import ConvNorm
from maam.torch.maam import Reduce as TorchReduce
from maam.torch.ops.depthwise import DepthwiseConv2d


def all_norms(net, epsilon):
    for norm in net.modules():
        if isinstance(norm, torch_nn.BatchNorm2d):
            norm.eps = epsilon


def all_cells(net, epsilon):
    for _, norm in net.cells_and_names():
        if isinstance(norm, nn.BatchNorm2d):
            norm.__init__(norm.num_features, eps=epsilon)
            norm.eps = 0.5  # inference has the epsilon that it was made with


def conv(channels, padding, **options):
    return torch_nn.Conv2d(channels, 16, 3, padding=padding, **options)


def cell(channels, padding, **options):
    return nn.Conv2d(channels, 16, 3, pad_mode="pad", padding=padding, **options)


# What is altered: a model or a layer, and the change in PyTorch and in MindSpore.
ALTERED = {
    "eps of MAAMNet": (
        "maamnet-nano",
        lambda net: all_norms(net, 0.1),
        lambda net: all_cells(net, 0.1),
    ),
    "eps of MAAM": (
        "maam",
        lambda net: all_norms(net, 0.1),
        lambda net: all_cells(net, 0.1),
    ),
    "a bias": (
        "resnet8",
        lambda net: setattr(net.stem, "conv", conv(2, 1)),
        lambda net: setattr(net.stem, "conv", cell(2, 1, has_bias=True)),
    ),
    "dilation": (
        "resnet8",
        lambda net: setattr(net.stem, "conv", conv(2, 2, bias=False, dilation=2)),
        lambda net: setattr(net.stem, "conv", cell(2, 2, dilation=2)),
    ),
    "another activation": (
        "maamnet-nano",
        lambda net: setattr(net.blocks[1].layer, "activation", torch_nn.ReLU6()),
        lambda net: setattr(net.blocks[1].layer, "activation", nn.ReLU6()),
    ),
    "an activation with weights": (
        "maamnet-nano",
        lambda net: setattr(net.blocks[1].layer, "activation", torch_nn.PReLU()),
        lambda net: setattr(net.blocks[1].layer, "activation", nn.PReLU()),
    ),
    "a norm as activation": (
        "maamnet-nano",
        lambda net: setattr(net.blocks[1].reduce, "activation", torch_nn.BatchNorm2d(64)),
        lambda net: setattr(net.blocks[1].reduce, "activation", nn.BatchNorm2d(64)),
    ),
    "another width": (
        "maam",
        lambda net: widen(net, TorchReduce(128, 48), torch_nn.Linear(48 * 64, 256)),
        lambda net: widen(net, Reduce(128, 48), nn.Dense(48 * 64, 256)),
    ),
    "GroupNorm": (
        "maamnet-nano",
        lambda net: setattr(net.blocks[1].reduce, "norm", torch_nn.GroupNorm(4, 64)),
        lambda net: setattr(net.blocks[1].reduce, "norm", nn.GroupNorm(4, 64)),
    ),
    "an activation in MAAM": (
        "maam",
        lambda net: setattr(net.maam.agents[0].layers, "relu1", torch_nn.ReLU6()),
        lambda net: net.maam.agents[0].layers.__setitem__(3, nn.ReLU6()),
    ),
    "average pooling in MAAM": (
        "maam",
        lambda net: setattr(net.maam.agents[0].layers, "pool1", torch_nn.AvgPool2d(2)),
        lambda net: net.maam.agents[0].layers.__setitem__(2, nn.AvgPool2d(2, 2)),
    ),
}


# What these cases leave as it is; all else folds.
UNFOLDED = {
    "a bias": "stem (ConvNorm)",
    "an activation with weights": "blocks.1.layer (AgentLayer)",
    "a norm as activation": "blocks.1.reduce (ConvNorm)",
    "another width": "maam (MAAM)",
    "GroupNorm": "blocks.1.reduce (ConvNorm)",
    "an activation in MAAM": "maam (MAAM)",
    "average pooling in MAAM": "maam (MAAM)",
}


def widen(net, reduce, hidden):
    net.maam.reduce, net.hidden = reduce, hidden


def check_folds(case, backend, net, whole):
    """That nothing else is left unfolded than must be."""
    left, found = UNFOLDED.get(case), set(backend.foldable(net))
    assert set(backend.foldable(whole)) - found == ({left} if left else set())


def randomised(arrays):
    rng = np.random.default_rng(0)
    return {name: random_array(name, shape, rng) for name, shape in sorted(arrays.items())}


@pytest.mark.parametrize("case", ALTERED)
def test_an_altered_network_keeps_its_logits_in_pytorch(case, rng):
    name, alter, _ = ALTERED[case]
    net = maam.torch.create_model(name, 3, 2, (16, 16))
    alter(net)
    check_folds(case, maam.torch, net, maam.torch.create_model(name, 3, 2, (16, 16)))
    tensors = torch_weights.named_tensors(net)
    arrays = randomised({key: tuple(tensor.shape) for key, tensor in tensors.items()})
    torch_weights.assign_tensors(tensors, arrays, "random")
    images = torch.from_numpy(rng.normal(size=(2, 2, 16, 16)).astype(np.float32))
    with torch.inference_mode():
        found, expected = maam.torch.fuse(net)(images), net.eval()(images)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("case", ALTERED)
def test_an_altered_network_keeps_its_logits_in_mindspore(case, rng):
    name, _, alter = ALTERED[case]
    net = maam.create_model(name, 3, 2, (16, 16))
    alter(net)
    check_folds(case, maam.mindspore, net, maam.create_model(name, 3, 2, (16, 16)))
    for key, parameter in net.parameters_and_names():
        parameter.name = key
    arrays = randomised({p.name: tuple(p.shape) for p in net.get_parameters()})
    assign_tensors(net.get_parameters(), arrays, "random")
    images = Tensor(rng.normal(size=(2, 2, 16, 16)).astype(np.float32))
    found, expected = maam.fuse(net)(images).asnumpy(), net.set_train(False)(images).asnumpy()
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_synchronised_norms_fold(rng):
    net = maam.torch.create_model("maamnet-nano", 3, 2, (16, 16))
    images = torch.from_numpy(rng.normal(size=(2, 2, 16, 16)).astype(np.float32))
    with torch.inference_mode():
        expected = net.eval()(images)
        folded = maam.torch.fuse(torch_nn.SyncBatchNorm.convert_sync_batchnorm(net))
        torch.testing.assert_close(folded(images), expected, rtol=1e-4, atol=1e-4)
    assert not [name for name in maam.torch.get_weights(folded) if "norm" in name]


def test_a_convolution_merged_with_its_norm_by_pytorch_keeps_its_bias(rng):
    torch.manual_seed(0)
    depthwise = ConvNorm(4, 4, groups=4).eval()
    torch_nn.init.normal_(depthwise.norm.bias)
    depthwise.norm.get_buffer("running_var").uniform_()
    merged = torch_nn.utils.fuse_conv_bn_eval(depthwise.conv, depthwise.norm)
    images = torch.from_numpy(rng.normal(size=(1, 4, 8, 8)).astype(np.float32))
    with torch.inference_mode():
        expected = depthwise.norm(depthwise.conv(images))
        torch.testing.assert_close(merged(images), expected, rtol=1e-4, atol=1e-4)


def test_dilated_depthwise_convolutions_are_computed_so(rng):
    layer = DepthwiseConv2d(4, 4, 3, padding=2, dilation=2, groups=4)
    plain = torch_nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4)
    plain.load_state_dict(layer.state_dict())
    images = torch.from_numpy(rng.normal(size=(1, 4, 8, 8)).astype(np.float32))
    for training in (False, True):
        torch.testing.assert_close(layer.train(training)(images), plain(images))
