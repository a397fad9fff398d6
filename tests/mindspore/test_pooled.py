"""Convolution, pooling and ReLU as one operator against the same apart."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, ops

from maam.mindspore.models import create_model
from maam.mindspore.ops import pooled
from maam.native import build

READY, REASON = build.library("mindspore", "pooled")
needs_operator = pytest.mark.skipif(not READY, reason=REASON)


def tensor(array):
    return Tensor(np.asarray(array, np.float32))


def apart(x, w, bias):
    size = w.shape[-1]
    maps = ops.bias_add(ops.conv2d(x.transpose(0, 3, 1, 2), w, None, 1, "pad", size // 2), bias)
    return ops.relu(ms.nn.MaxPool2d(2, 2)(maps)).transpose(0, 2, 3, 1)


@needs_operator
@settings(max_examples=24, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 19),
    channels=st.sampled_from([1, 3, 16, 32]),
    outputs=st.sampled_from([16, 32, 80]),
    height=st.integers(2, 11),
    width=st.integers(2, 18),
    kernel=st.sampled_from([1, 3, 5]),
    flat=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equals_the_operators_apart(batch, channels, outputs, height, width, kernel, flat, seed):
    rng = np.random.default_rng(seed)
    x = tensor(rng.standard_normal((batch, height, width, channels)))
    w = tensor(rng.standard_normal((outputs, channels, kernel, kernel)))
    bias = tensor(rng.standard_normal(outputs))
    weights = tensor(rng.standard_normal((batch, height // 2, width // 2, outputs)))
    operator = pooled.operator(flat)

    def together(x, w, bias):
        y, _ = operator(x, w, bias)
        planes = (batch, outputs, height // 2, width // 2)
        return y.reshape(planes).transpose(0, 2, 3, 1) if flat else y

    def outcome(function):
        def forward(x, w, bias):
            y = function(x, w, bias)
            return (y * weights).sum(), y

        (_, y), grads = ms.value_and_grad(forward, (0, 1, 2), has_aux=True)(x, w, bias)
        return [result.asnumpy() for result in (y, *grads)]

    ours, plain = outcome(together), outcome(apart)
    for name, value, expected in zip(("y", "dx", "dw", "db"), ours, plain, strict=True):
        atol = 1e-5 * max(np.abs(expected).max(), 1)
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=atol, err_msg=name)


@needs_operator
def test_the_first_of_equal_pixels_gets_the_gradient():
    x = tensor(np.ones((1, 2, 2, 1)))
    w, bias = tensor(np.ones((16, 1, 1, 1))), tensor(np.zeros(16))
    to_x = ms.grad(lambda x: pooled.operator()(x, w, bias)[0].sum())(x)
    assert to_x.asnumpy().reshape(-1).tolist() == [16, 0, 0, 0]


@needs_operator
def test_the_network_answers_as_without(monkeypatch):
    net = create_model("cnn")
    images = tensor(np.random.default_rng(0).random((3, 3, 32, 32)))
    assert net.native
    ours = net.set_train(True)(images).asnumpy()
    np.testing.assert_allclose(ours, net.set_train(False)(images).asnumpy(), rtol=1e-4, atol=1e-5)
    monkeypatch.setenv("MAAM_NATIVE", "0")
    assert not create_model("cnn").native
