"""The peers are the published networks, the same in both frameworks, and can be exported."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
import torch
from both_frameworks import DEEP, randomise, same_weights
from mindspore import Tensor, nn

import maam.mindspore
import maam.torch
from maam.core.config import TrainConfig
from maam.core.errors import MaamError
from maam.mindspore.cost import count_macs
from maam.mindspore.models import create_model, peers
from maam.mindspore.onnx import export_onnx
from maam.mindspore.step import make_optimizer, make_train_step
from maam.torch import step as torch_step
from maam.torch.models import peers as torch_peers
from maam.torch.onnx import export_onnx as export_torch_onnx

# Millions of parameters and of MACs, to the digits published: the README of
# chenyaofo/pytorch-cifar-models, and for resnet8 the sum of its layers in mlcommons/tiny,
# benchmark/training/image_classification/Logs/training_log.txt; for separable-resnet what the
# code of pierandom/separable-resnet at ca960fd counts (its README says 0.45).
PUBLISHED = {
    "resnet20": ("0.27", "40.81"),
    "mobilenetv2-x0.5": ("0.70", "27.97"),
    "mobilenetv2": ("2.24", "87.98"),
    "shufflenetv2-x0.5": ("0.35", "10.90"),
    "separable-resnet": ("0.44", "101.39"),
}
# What there is of each kind: `mobilenetv2` differs in nothing but widths.
KINDS = [name for name in DEEP if name != "mobilenetv2"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_sizes_are_the_published_ones(name):
    net = maam.torch.create_model(name)
    found = maam.torch.count_parameters(net), maam.torch.count_macs(net, (3, 32, 32))
    assert tuple(f"{count / 1e6:.2f}" for count in found) == PUBLISHED[name]


def test_resnet8_has_the_published_layers():
    net = maam.torch.create_model("resnet8")
    norms = [m.num_features for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    # Keras gives a bias to the convolution before each BatchNorm, which cancels it.
    trainable = maam.torch.count_parameters(net) + sum(norms)
    assert trainable == 78_186
    assert trainable + 2 * sum(norms) == 78_666  # with the statistics
    convolutions = 1024 * 9 * 16 * (3 + 2 * 16)
    convolutions += 256 * (9 * 32 * (16 + 32) + 16 * 32) + 64 * (9 * 64 * (32 + 64) + 32 * 64)
    assert maam.torch.count_macs(net, (3, 32, 32)) == convolutions + 64 * 10


@pytest.mark.parametrize("name", KINDS)
def test_both_frameworks_compute_and_learn_the_same(name, rng):
    net, other = same_weights(name, 5, 3, (9, 16))
    assert maam.torch.count_macs(other, (3, 9, 16)) == count_macs(net, (3, 9, 16))
    images = rng.random((6, 3, 9, 16), dtype=np.float32)
    labels = rng.integers(0, 5, 6).astype(np.int32)
    expected = net.set_train(False)(Tensor(images)).asnumpy()
    with torch.inference_mode():
        found = other.eval()(torch.from_numpy(images)).numpy()
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()

    config = TrainConfig(mode="eager", optimizer="sgd", learning_rate=0.05)
    before = maam.mindspore.get_weights(net)
    step = make_train_step(net.set_train(True), make_optimizer(net, config), config)
    numbers = Tensor(0.05, ms.float32), Tensor(0.0, ms.float32)
    loss, _ = step(Tensor(images), Tensor(labels), *numbers)
    optimizer = torch_step.make_optimizer(other, config)
    step = torch_step.make_train_step(other.train(), optimizer, config)
    torch_loss, _ = step(torch.from_numpy(images), torch.from_numpy(labels).long(), 0.05)
    assert float(torch_loss) == pytest.approx(float(loss.asnumpy()), rel=1e-4)
    ours, theirs = maam.mindspore.get_weights(net), maam.torch.get_weights(other)
    assert ours.keys() == theirs.keys()
    for statistics in (True, False):
        # All together, because a value that is nearly 0 may fall on either side of a ReLU, and
        # few images pass it; single betas have no gradient at all but noise.
        names = [name for name in ours if ("moving" in name) is statistics]
        moved = np.concatenate([(ours[name] - before[name]).ravel() for name in names])
        differ = np.concatenate([(ours[name] - theirs[name]).ravel() for name in names])
        assert np.linalg.norm(moved) > 0.01
        assert np.linalg.norm(differ) <= 0.05 * np.linalg.norm(moved)


@pytest.mark.parametrize(
    ("kind", "blocks"),
    [
        ("InvertedResidual", [(4, 4, 8, 2), (8, 16, 8, 1)]),
        ("ShuffleUnit", [(4, 8, 2), (8, 8, 1)]),
    ],
)
def test_the_export_computes_the_same_for_any_batch(kind, blocks, tmp_path):
    net = nn.SequentialCell(*[getattr(peers, kind)(*block) for block in blocks])
    other = torch.nn.Sequential(*[getattr(torch_peers, kind)(*block) for block in blocks])
    randomise(net, other, seed=1)
    # It is compared on three images, and traced with one or two.
    assert export_onnx(net.set_train(False), (4, 7, 8), tmp_path / "ours.onnx") < 1e-4
    assert export_torch_onnx(other.eval(), (4, 7, 8), tmp_path / "theirs.onnx") < 1e-4


def test_the_shuffle_is_the_published_one():
    unit = torch_peers.ShuffleUnit(6, 6, 1).eval()
    x = torch.randn(2, 6, 5, 4)
    joined = torch.cat((x[:, :3], unit.branch(x[:, 3:])), 1)
    shuffled = joined.view(2, 2, 3, 5, 4).transpose(1, 2).reshape(2, 6, 5, 4)
    torch.testing.assert_close(unit(x), shuffled)


@pytest.mark.parametrize("name", ["resnet8", "mobilenetv2-x0.5", "shufflenetv2-x0.5"])
def test_eight_pixels_a_side_are_enough_and_seven_too_few(name):
    for create in (create_model, maam.torch.create_model):
        with pytest.raises(MaamError, match="images of 7x32 pixels are too small"):
            create(name, image_size=(7, 32))
    net = maam.torch.create_model(name, 4, 1, (8, 11)).eval()
    assert net(torch.zeros(2, 1, 8, 11)).shape == (2, 4)
