"""Class-activation maps: where they lie, what they sum up to, the same in both frameworks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from both_frameworks import same_weights
from torch.nn import functional as F

import maam.mindspore
import maam.torch
from maam.core.frameworks import ClassMaps
from maam.data.preprocessing import Preprocessing

POOLED = ("maamnet-nano", "resnet8", "mobilenetv2-x0.5", "shufflenetv2-x0.5", "separable-resnet")
FLAT = ("maam", "maam-multires", "maam-squeeze", "maam-concat", "maam-no-reduce", "cnn")


def preprocessing(size: int) -> Preprocessing:
    return Preprocessing((size, size), 3, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


def both(name: str, size: int, rng: np.random.Generator, **options) -> tuple[ClassMaps, ClassMaps]:
    net, other = same_weights(name, 5, 3, (size, size))
    images = rng.integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    how = preprocessing(size)
    return (
        maam.mindspore.class_maps(net, images, how, **options),
        maam.torch.class_maps(other, images, how, **options),
    )


def close(one: np.ndarray, other: np.ndarray) -> None:
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * np.abs(other).max())


@pytest.mark.parametrize("name", [*POOLED, *FLAT])
def test_the_frameworks_agree(name, rng):
    one, other = both(name, 16, rng)
    assert one.exact is other.exact is (name in POOLED)
    assert (one.classes == other.classes).all()
    assert (one.classes == one.logits.argmax(1)).all()
    assert one.maps is not None and other.maps is not None
    close(one.maps, other.maps)
    assert (one.agents is None) is (other.agents is None) is not ("maam" in name)
    if one.agents and other.agents:
        assert one.agents.names == other.agents.names
        close(one.agents.maps, other.agents.maps)


@pytest.mark.parametrize("name", ["maamnet-nano", "resnet8"])
def test_the_mean_of_a_map_is_the_logit_without_its_bias(name, rng):
    classes = np.array([4, 0, 2])
    net = maam.torch.create_model(name, 5, 3, (40, 40))
    images = rng.integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    maps = maam.torch.class_maps(net, images, preprocessing(40), classes)
    bias = net.get_parameter("classifier.bias").detach().numpy()
    assert maps.maps is not None
    logits = maps.logits[np.arange(3), classes]
    np.testing.assert_allclose(maps.maps.mean((1, 2)), logits - bias[classes], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["mlp", "rnn"])
def test_a_network_without_maps_has_none(name, rng):
    for maps in both(name, 16, rng):
        assert maps.maps is None and maps.agents is None
        assert maps.logits.shape == (3, 5)


def test_agents_are_named_by_their_kernels(rng):
    images = rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    one, agents = (
        maam.torch.class_maps(
            maam.torch.create_model(name, 2, 3, (16, 16)), images, preprocessing(16)
        ).agents
        for name in ("maam-multires", "maamnet-nano")
    )
    assert one and agents
    assert one.names == ("agent 1, 3x3", "agent 2, 3x3 at 1/2", "agent 3, 3x3 at 1/4")
    assert agents.names[1:] == ("agent 2, 5x5", "agent 3, 3x3 dilated by 2", "agent 4, 1x1")
    assert agents.maps.shape == (3, 4, 16, 16)


@pytest.mark.parametrize("name", ["maam", "maam-no-attention", "maamnet-nano"])
def test_a_folded_network_has_the_same_maps(name, rng):
    net = same_weights(name, 5, 3, (16, 16))[1]
    images = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    whole, folded = (
        maam.torch.class_maps(each, images, preprocessing(16))
        for each in (net, maam.torch.fuse(net))
    )
    assert whole.maps is not None and folded.maps is not None
    close(folded.maps, whole.maps)
    if name != "maamnet-nano":  # its agents have become one convolution
        assert whole.agents and folded.agents
        close(folded.agents.maps, whole.agents.maps)


def test_the_network_stays_as_it_is(rng):
    net = maam.torch.create_model("cnn", 3, 3, (16, 16)).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    images = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    maam.torch.class_maps(net, images, preprocessing(16))
    assert net.training
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all((before[name] == tensor).all() for name, tensor in net.state_dict().items())


def squares(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A red (class 0) or blue square (class 1) on noise: images, labels, left (0) or right (1)."""
    images = rng.integers(0, 90, (count, 32, 32, 3), dtype=np.uint8)
    labels, sides = np.arange(count) % 2, rng.integers(0, 2, count)
    for image, label, side in zip(images, labels, sides, strict=True):
        top, left = rng.integers(2, 22), rng.integers(2, 7) + 16 * side
        image[top : top + 8, left : left + 8, 2 * label] = 255
    return images, labels, sides


@pytest.mark.slow
def test_the_map_lies_where_the_class_is_decided(rng):
    torch.manual_seed(0)
    net = maam.torch.create_model("maamnet-nano", 2, 3, (32, 32)).train()
    how = Preprocessing((32, 32), 3, (0.2,) * 3, (0.2,) * 3)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(20):
        images, labels, _ = squares(24, rng)
        loss = F.cross_entropy(net(torch.from_numpy(how(images))), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images, labels, sides = squares(20, rng)
    maps = maam.torch.class_maps(net, images, how)
    assert maps.maps is not None
    assert (maps.classes == labels).mean() >= 0.9
    evidence = np.maximum(maps.maps, 0).sum(1).reshape(20, 2, 4).sum(2)  # left, right
    share = evidence[np.arange(20), sides] / evidence.sum(1)
    assert np.median(share) > 0.7


@pytest.mark.parametrize("kind", [list, np.uint8, np.int32])
def test_classes_are_numbers_of_any_kind(kind, rng):
    wanted = [2, 0, 1]
    given = wanted if kind is list else np.array(wanted, kind)
    one, other = both("maamnet-nano", 16, rng, classes=given)
    np.testing.assert_array_equal(one.classes, wanted)
    np.testing.assert_array_equal(other.classes, wanted)
    assert one.maps is not None and other.maps is not None
    close(one.maps, other.maps)
