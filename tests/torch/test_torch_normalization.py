"""PyTorch's BatchNorm with our gradients, against PyTorch's own in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from maam.native import build
from maam.torch.ops.normalization import norm_activation

READY, REASON = build.library("torch", "normalization")
needs_operator = pytest.mark.skipif(not READY, reason=REASON)


class Pair(nn.Module):
    """BatchNorm and an activation, computed together."""

    def __init__(self, channels, relu, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)
        self.activation = nn.ReLU() if relu else nn.Identity()

    def forward(self, x):
        return norm_activation(x, self.norm, self.activation)


def own(y):
    """Whether our own gradients follow, at once or after those of an activation."""
    nodes = [y.grad_fn, *(node for node, _ in y.grad_fn.next_functions)]
    return any(type(node).__name__ == "_NormBackward" for node in nodes)


def reference(layer, x, upstream):
    """Value, gradients and statistics by PyTorch in float64."""
    plain = copy.deepcopy(layer).double()
    x = x.detach().double().requires_grad_()
    y = plain.activation(plain.norm(x))
    y.backward(upstream.double())
    return results(y, x, plain)


def results(y, x, layer):
    norm = layer.norm
    return [y.detach(), x.grad, norm.weight.grad, norm.bias.grad, *norm.buffers()]


@needs_operator
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    batch=st.integers(2, 4),
    channels=st.sampled_from([1, 3, 8, 16, 24, 40, 64, 100, 200]),
    size=st.tuples(st.integers(1, 19), st.integers(1, 19)),
    relu=st.booleans(),
    half=st.booleans(),
    threads=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_its_gradients_are_those_of_batch_norm(batch, channels, size, relu, half, threads, seed):
    layer = Pair(channels, relu, seed)
    kind, tolerance = (torch.bfloat16, 2e-2) if half else (torch.float32, 1e-4)
    x = (2 * torch.randn(batch, channels, *size) + 1).to(kind, memory_format=torch.channels_last)
    upstream = torch.randn(x.shape).to(kind)
    expected = reference(layer, x, upstream)
    x.requires_grad_()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    y = layer(x)
    y.backward(upstream)
    torch.set_num_threads(before)
    assert own(y)
    for ours, theirs in zip(results(y, x, layer), expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= tolerance * max(1, theirs.abs().max())


@needs_operator
def test_the_result_does_not_depend_on_the_threads():
    x = torch.randn(16, 24, 64, 64).to(memory_format=torch.channels_last).requires_grad_()
    layer, found = Pair(24, True), []
    y = layer(x)
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(torch.autograd.grad(y, (x, *layer.parameters()), y, retain_graph=True))
    torch.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


@needs_operator
@pytest.mark.parametrize("relu", [False, True])
def test_pytorchs_own_serves_elsewhere(relu, monkeypatch):
    layer = Pair(4, relu)
    rows = torch.randn(2, 4, 5, 6, requires_grad=True)
    pixels = rows.detach().to(memory_format=torch.channels_last).requires_grad_()
    assert own(layer(pixels))
    for x in (rows, pixels.double(), pixels[:, :, ::2]):
        y = (layer.double() if x.dtype == torch.float64 else layer.float())(x)
        assert type(y.grad_fn).__name__ == ("ReluBackward0" if relu else "NativeBatchNormBackward0")
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        layer(torch.ones(1, 4, 1, 1))
    monkeypatch.setenv("MAAM_NATIVE", "0")
    build.functions.cache_clear()
    ours, plain = Pair(4, relu), Pair(4, relu)
    value = ours(pixels)
    assert not own(value)
    monkeypatch.undo()
    build.functions.cache_clear()
    assert torch.allclose(value, plain(pixels), atol=1e-6)
    for one, two in zip(ours.norm.buffers(), plain.norm.buffers(), strict=True):
        assert torch.allclose(one, two)
    y = layer.eval()(pixels)
    assert not own(y)
    assert (y.min() >= 0) == relu


@needs_operator
@pytest.mark.parametrize(
    ("norm", "activation", "ours"),
    [
        (nn.BatchNorm2d(4, affine=False), nn.ReLU(), False),
        (nn.BatchNorm2d(4, momentum=None), nn.ReLU(), False),
        (nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU(), False),
        (nn.GroupNorm(2, 4), nn.ReLU(), False),
        (nn.Identity(), nn.ReLU(), False),
        (type("OwnNorm", (nn.BatchNorm2d,), {})(4), nn.ReLU(), False),
        (nn.BatchNorm2d(4), nn.ReLU(), True),
        (nn.BatchNorm2d(4), nn.ReLU(inplace=True), True),
        (nn.BatchNorm2d(4), nn.ReLU6(), True),
        (nn.BatchNorm2d(4), nn.SiLU(inplace=True), True),
        (nn.BatchNorm2d(4), type("Halved", (nn.ReLU,), {"forward": lambda _, x: x / 2})(), True),
    ],
    ids=lambda value: value if isinstance(value, bool) else type(value).__name__,
)
def test_what_somebody_has_put_in_their_place_is_called(norm, activation, ours):
    x = torch.randn(2, 4, 5, 6).to(memory_format=torch.channels_last).requires_grad_()
    plain = copy.deepcopy(norm), copy.deepcopy(activation)
    y = norm_activation(x, norm, activation)
    assert own(y) is ours
    expected = plain[1](plain[0](x))
    assert torch.equal(y, expected)
    upstream = torch.randn_like(y)
    gradients = [torch.autograd.grad(maps, x, upstream)[0] for maps in (y, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
    for one, two in zip(norm.buffers(), plain[0].buffers(), strict=True):
        assert torch.equal(one, two)
