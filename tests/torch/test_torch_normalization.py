"""PyTorch's BatchNorm with our gradients, against PyTorch's own in float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from maam.native import build
from maam.torch.ops import normalization as norm
from maam.torch.ops.normalization import BatchNorm2d

READY, REASON = build.library(Path(norm.__file__).with_suffix(".cc"))
needs_operator = pytest.mark.skipif(not READY, reason=REASON)


def draw(channels, relu, seed=0):
    torch.manual_seed(seed)
    layer = BatchNorm2d(channels, relu)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


def reference(layer, x, upstream):
    """Value, gradients and statistics by PyTorch in float64."""
    plain = nn.BatchNorm2d(layer.num_features).double()
    plain.load_state_dict(layer.state_dict())
    x = x.detach().double().requires_grad_()
    y = plain(x).relu() if layer.relu else plain(x)
    y.backward(upstream.double())
    return results(y, x, plain)


def results(y, x, layer):
    return [y.detach(), x.grad, layer.weight.grad, layer.bias.grad, *layer.buffers()]


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
    layer = draw(channels, relu, seed)
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
    assert type(y.grad_fn).__name__ == "_NormBackward"
    for ours, theirs in zip(results(y, x, layer), expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= tolerance * max(1, theirs.abs().max())


@needs_operator
def test_the_result_does_not_depend_on_the_threads():
    x = torch.randn(16, 24, 64, 64).to(memory_format=torch.channels_last).requires_grad_()
    layer, found = draw(24, True), []
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
    layer = draw(4, relu)
    rows = torch.randn(2, 4, 5, 6, requires_grad=True)
    pixels = rows.detach().to(memory_format=torch.channels_last).requires_grad_()
    assert type(layer(pixels).grad_fn).__name__ == "_NormBackward"
    for x in (rows, pixels.double(), pixels[:, :, ::2]):
        y = (layer.double() if x.dtype == torch.float64 else layer.float())(x)
        assert type(y.grad_fn).__name__ == ("ReluBackward0" if relu else "NativeBatchNormBackward0")
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        layer(torch.ones(1, 4, 1, 1))
    monkeypatch.setenv("MAAM_NATIVE", "0")
    build.functions.cache_clear()
    ours, plain = draw(4, relu), draw(4, relu)
    value = ours(pixels)
    assert type(value.grad_fn).__name__ != "_NormBackward"
    monkeypatch.undo()
    build.functions.cache_clear()
    assert torch.allclose(value, plain(pixels), atol=1e-6)
    for one, two in zip(ours.buffers(), plain.buffers(), strict=True):
        assert torch.allclose(one, two)
    y = layer.eval()(pixels)
    assert type(y.grad_fn).__name__ != "_NormBackward"
    assert (y.min() >= 0) == relu
