"""The native depthwise convolutions, in both frameworks, against the frameworks' own."""

from __future__ import annotations

import os

import mindspore as ms
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor
from torch.nn import functional as F

from maam.mindspore.models.maamnet import LinearAgents
from maam.mindspore.ops import depthwise
from maam.models.kernels import kernel_layout
from maam.models.variants import AGENTS
from maam.native import build
from maam.torch.ops import depthwise as torch_depthwise

READY, REASON = build.library("mindspore", "depthwise")
needs_operator = pytest.mark.skipif(not READY, reason=REASON)
few = settings(max_examples=25, deadline=None, derandomize=True)
shapes = {
    "batch": st.integers(1, 3),
    "channels": st.sampled_from([1, 3, 8, 16, 17, 35]),
    "size": st.tuples(st.integers(1, 19), st.integers(1, 33)),
    "side": st.sampled_from([3, 5, 7]),
    "seed": st.integers(0, 99),
}


def reference(x, weight, upstream, stride=1):
    """Value and gradients by PyTorch in float64."""
    x, weight = (torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (x, weight))
    y = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, weight.shape[0])
    y.backward(torch.tensor(upstream[:, :, : y.shape[2], : y.shape[3]], dtype=torch.float64))
    assert x.grad is not None and weight.grad is not None
    return [a.detach().numpy() for a in (y, x.grad, weight.grad)]


def draw(batch, channels, size, side, seed):
    rng = np.random.default_rng(seed)
    x, upstream = rng.standard_normal((2, batch, channels, *size)).astype(np.float32)
    return x, rng.standard_normal((channels, 1, side, side)).astype(np.float32), upstream


def assert_near(found, expected, tolerance):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= tolerance * max(1, np.abs(theirs).max())


@needs_operator
@few
@given(**shapes, stride=st.sampled_from([1, 2]))
def test_mindspores_is_the_convolution(batch, channels, size, side, seed, stride):
    x, weight, upstream = draw(batch, channels, size, side, seed)
    operator = depthwise.operator(stride)

    def forward(x, weight):
        y = operator(x, weight)
        sent = upstream[:, :, : y.shape[2], : y.shape[3]]
        return (y * Tensor(np.ascontiguousarray(sent))).sum(), y

    differentiate = ms.value_and_grad(forward, (0, 1), has_aux=True)
    (_, y), gradients = differentiate(Tensor(x), Tensor(weight))
    found = [tensor.asnumpy() for tensor in (y, *gradients)]
    assert_near(found, reference(x, weight, upstream, stride), 1e-5)


@needs_operator
@few
@given(**shapes, stride=st.sampled_from([1, 2]), half=st.booleans())
def test_pytorchs_gradients_are_those_of_the_convolution(
    batch, channels, size, side, seed, stride, half
):
    x, weight, upstream = draw(batch, channels, size, side, seed)
    kind, tolerance = (torch.bfloat16, 3e-2) if half else (torch.float32, 1e-5)
    x, weight = (torch.tensor(a).to(kind) for a in (x, weight))
    x = x.contiguous(memory_format=torch.channels_last)  # as the function itself makes it
    arrays = [t.float().numpy() for t in (x, weight)]
    x, weight = (t.requires_grad_() for t in (x, weight))
    y: torch.Tensor = torch_depthwise._Depthwise.apply(x, weight, stride)  # pyright: ignore
    sent = torch.tensor(upstream[:, :, : y.shape[2], : y.shape[3]]).to(kind)
    y.backward(sent)
    expected = reference(arrays[0], arrays[1], sent.float().numpy(), stride)
    assert x.grad is not None and weight.grad is not None
    assert_near([t.detach().float().numpy() for t in (y, x.grad, weight.grad)], expected, tolerance)


@needs_operator
@pytest.mark.parametrize("amp", [False, True])
def test_pytorch_takes_them_where_they_are_quicker(amp, rng, monkeypatch):
    pixels = rng.random((2, 8, 9, 9), dtype=np.float32)  # rows, not channels last
    calls, call = [], build.call

    def watched(place, name, *rest):
        calls.append((*place, name))
        call(place, name, *rest)

    monkeypatch.setattr(build, "call", watched)
    both = [("torch", "depthwise", f"depthwise_{kind}") for kind in ("input", "weight")]
    for side, stride, expected in ((3, 1, []), (3, 2, both), (5, 1, both), (9, 1, [])):
        x = torch.tensor(pixels, requires_grad=True)
        weight = torch.tensor(rng.random((8, 1, side, side), dtype=np.float32), requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            y = torch_depthwise.depthwise(x, weight, stride, quick=True)
        assert y.dtype == (torch.bfloat16 if amp else torch.float32)
        y.float().sum().backward()
        assert calls == expected, (side, stride)
        calls.clear()
        assert x.grad is not None and weight.grad is not None
        found = [t.detach().float().numpy() for t in (y, x.grad, weight.grad)]
        theirs = reference(pixels, weight.detach().numpy(), np.ones(y.shape), stride)
        assert_near(found, theirs, 3e-2 if amp else 1e-5)
    torch_depthwise.depthwise(x, weight[:, :, 2:7, 2:7]).sum().backward()
    assert not calls


@needs_operator
def test_the_result_does_not_depend_on_the_threads():
    x, weight, upstream = draw(16, 32, (64, 64), 3, 0)  # work for 10 threads
    operator, found = depthwise.operator(1), []
    pixels = torch.tensor(x).to(memory_format=torch.channels_last).requires_grad_()
    kernel = torch.tensor(weight).requires_grad_()

    def forward(x, weight):
        return (operator(x, weight) * Tensor(upstream)).sum()

    before, cores = torch.get_num_threads(), os.sched_getaffinity(0)
    try:
        for some in ({min(cores)}, cores):
            torch.set_num_threads(len(some))
            os.sched_setaffinity(0, some)
            gradients = ms.grad(forward, (0, 1))(Tensor(x), Tensor(weight))
            y: torch.Tensor = torch_depthwise._Depthwise.apply(pixels, kernel, 1)  # pyright: ignore
            theirs = torch.autograd.grad(y, (pixels, kernel), torch.tensor(upstream))
            found.append([*(g.asnumpy() for g in gradients), *(g.numpy() for g in theirs)])
    finally:
        torch.set_num_threads(before)
        os.sched_setaffinity(0, cores)
    for one, all_ in zip(*found, strict=True):
        np.testing.assert_array_equal(one, all_)


def test_fresh_kernels_hold_the_identity_and_agents_of_their_shapes():
    ms.set_seed(0)
    agents = LinearAgents(64, AGENTS)
    layout = kernel_layout(AGENTS)
    assert (agents.kernel().shape, layout.side) == ((64, 1, 5, 5), 5)
    taps = agents.taps.asnumpy()
    assert taps.shape == (64, 1, 9 + 25 + 9 + 1)
    assert (taps[..., -1] == 1).all()
    assert taps[..., :9].std() == pytest.approx(1 / 3, rel=0.1)
    assert taps[..., 9:34].std() == pytest.approx(1 / 5, rel=0.1)


def test_without_a_compiler_the_frameworks_own_serve(tmp_path, monkeypatch, rng):
    monkeypatch.setenv("MAAM_NATIVE", "0")
    build.functions.cache_clear()
    agents = LinearAgents(4, AGENTS).set_train(True)
    assert not agents.native
    x = rng.random((1, 4, 6, 6), dtype=np.float32)
    assert agents(Tensor(x)).shape == x.shape
    y = torch_depthwise.depthwise(torch.tensor(x), torch.ones(4, 1, 5, 5), quick=True)
    assert y.shape == x.shape
    build.functions.cache_clear()


@pytest.mark.parametrize("agents", [(), ((4, 3, 1),), ((3, 4, 1),), ((3, 3, 0),)])
def test_agents_that_can_not_be_say_so(agents):
    with pytest.raises(ValueError, match="agent"):
        LinearAgents(4, agents)


def test_pytorch_refuses_kernels_of_another_type_in_training_too():
    x, weight = torch.ones(1, 8, 9, 9), torch.ones(8, 1, 5, 5, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="same"):
        torch_depthwise.depthwise(x, weight, 1, quick=True)
