"""PyTorch's models are MindSpore's: names, weights, logits, costs."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
import torch
from both_frameworks import COMPARED, randomise, same_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor
from torch import nn

import maam
import maam.torch
from maam.core.errors import MaamError
from maam.mindspore.cost import count_macs, count_parameters
from maam.mindspore.models import create_model
from maam.models.agents import FUSIONS
from maam.models.registry import list_models
from maam.torch.loop import agent_weights
from maam.torch.runtime import place
from maam.torch.weights import named_tensors


@pytest.fixture(params=COMPARED)
def pair(request):
    """A model in both frameworks, same random weights and BatchNorm statistics, 3x16x12."""
    return same_weights(request.param, 5, 3, (16, 12))


def test_logits_are_the_same(pair, rng):
    net, other = pair
    images = rng.normal(size=(4, 3, 16, 12)).astype(np.float32)
    expected = net.set_train(False)(Tensor(images)).asnumpy()
    with torch.inference_mode():
        found = other.eval()(torch.from_numpy(images)).numpy()
        last = other(torch.from_numpy(images).contiguous(memory_format=torch.channels_last)).numpy()
    largest = np.abs(expected).max()
    assert largest > 1e-3
    assert np.abs(found - expected).max() <= 1e-4 * largest
    assert np.abs(last - expected).max() <= 1e-4 * largest


def test_names_and_shapes_are_the_same(pair):
    net, other = pair
    ours = {p.name: tuple(p.shape) for p in net.get_parameters()}
    assert {name: tuple(t.shape) for name, t in named_tensors(other).items()} == ours
    # Nothing is lost: every parameter and every statistic but BatchNorm's counter has a name.
    kept = {id(tensor) for tensor in named_tensors(other).values()}
    counted = {n: t for n, t in other.state_dict(keep_vars=True).items() if "num_batches" not in n}
    assert {id(tensor) for tensor in counted.values()} == kept


def test_costs_are_the_same(pair):
    net, other = pair
    assert maam.torch.count_parameters(other) == count_parameters(net)
    assert maam.torch.count_macs(other, (3, 16, 12)) == count_macs(net, (3, 16, 12))
    assert other.training is True  # counting leaves the mode alone


def test_fusion_weights_are_listed_where_they_are_learnable_scalars():
    assert agent_weights(maam.torch.create_model("maam-a2")) == [[0.5, 0.5]]
    for name in ("maam-a1", "maam-concat", "maam-squeeze", "maam-no-attention"):
        assert agent_weights(maam.torch.create_model(name)) == []


@pytest.mark.parametrize("name", list_models())
def test_fresh_weights_have_the_same_spread(name):
    ms.set_seed(0)
    torch.manual_seed(0)
    net = create_model(name, 10, 3, (16, 16))
    theirs = named_tensors(maam.torch.create_model(name, 10, 3, (16, 16)))
    for parameter in net.get_parameters():
        ours, other = parameter.asnumpy(), theirs[parameter.name].detach().numpy()
        if ours.size < 500:
            assert (ours.std() == 0) == (other.std() == 0), parameter.name
        else:
            assert ours.std() == pytest.approx(other.std(), rel=0.15), parameter.name
            assert abs(ours.mean() - other.mean()) <= 0.2 * ours.std(), parameter.name


@pytest.mark.parametrize("name", [*list_models("maam*"), "cnn", "resnet8", "mobilenetv2-x0.5"])
@pytest.mark.parametrize("ours", [False, True])
def test_maps_stay_in_the_channels_last_layout(name, ours):
    """By PyTorch's gradients, and by our own: they leave out norms that have a hook."""
    net = place(maam.torch.create_model(name, 10, 3, (16, 16)))
    unseen = (nn.BatchNorm2d, nn.ReLU, nn.Identity) if ours else ()
    strays, seen = [], []

    def look(module, inputs, output):
        seen.append(module)
        if output.ndim == 4 and not output.is_contiguous(memory_format=torch.channels_last):
            strays.append(module)

    for module in net.modules():
        if not isinstance(module, unseen):
            module.register_forward_hook(look)
    images = torch.rand(2, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    net(images).sum().backward()
    assert len(seen) > 2
    assert not strays


@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(2, 11),
    width=st.integers(2, 11),
    kernels=st.lists(st.sampled_from([1, 3, 5]), min_size=1, max_size=4),
    layers=st.sampled_from(["p1", "p2", "p3"]),
    pool=st.booleans(),
    fusion=st.sampled_from(FUSIONS),
    coarse=st.booleans(),
)
def test_the_module_is_the_same_at_any_size(height, width, kernels, layers, pool, fusion, coarse):
    resolutions = [1, 2, 4, 2][: len(kernels)] if coarse else None
    options = (2, 8, kernels, layers, pool, fusion, True, resolutions)
    net, other = maam.MAAM(*options).set_train(False), maam.torch.MAAM(*options).eval()
    randomise(net, other, seed=height * 100 + width)
    images = np.random.default_rng(0).normal(size=(2, 2, height, width)).astype(np.float32)
    expected = net(Tensor(images)).asnumpy()
    with torch.inference_mode():
        found = other(torch.from_numpy(images)).numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-4 * max(np.abs(expected).max(), 1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel_sizes": (2,)}, "odd"),
        ({"layers": "p9"}, "one of p1, p2, p3"),
        ({"kernel_sizes": ()}, "at least 1"),
        ({"fusion": "sum"}, "learned, fixed, concat, squeeze, not 'sum'"),
        ({"fusion": "concat", "reduce": False}, "'concat' needs reduce=True"),
        ({"resolutions": (1, 2)}, "2 resolutions"),
        ({"kernel_sizes": (3,), "resolutions": (3,)}, "even"),
        ({"out_channels": 0}, "at least 1"),
    ],
)
def test_the_module_refuses_what_the_other_refuses(change, message):
    options = {"in_channels": 2, "out_channels": 4, **change}
    for module in (maam.MAAM, maam.torch.MAAM):
        with pytest.raises(ValueError, match=message):
            module(**options)


def test_unknown_models_and_small_images_are_named():
    with pytest.raises(MaamError, match="did you mean maam"):
        maam.torch.create_model("mam")
    for name in ("maam", "cnn"):
        with pytest.raises(MaamError, match="too small"):
            maam.torch.create_model(name, 10, 3, (1, 1))
