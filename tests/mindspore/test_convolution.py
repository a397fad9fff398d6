"""The native convolution against MindSpore's own, and what becomes of training without it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, ops

import maam
from maam.core.config import TrainConfig
from maam.mindspore.models import create_model
from maam.mindspore.ops.convolution import Conv2d
from maam.mindspore.step import make_optimizer, make_train_step
from maam.native import build

READY, REASON = build.library("mindspore", "convolution")
needs_operator = pytest.mark.skipif(not READY, reason=REASON)
few = settings(max_examples=40, deadline=None, derandomize=True)


def tensor(array):
    return Tensor(np.asarray(array, np.float32))


def outcome(cell, x, upstream):
    """Value and gradients of x, weight and bias after one pass in training."""
    cell.set_train(True)

    def forward(x):
        y = cell(x)
        return (y * upstream).sum(), y

    differentiate = ms.value_and_grad(forward, 0, cell.trainable_params(), has_aux=True)
    (_, value), (to_x, to_parameters) = differentiate(x)
    return [result.asnumpy() for result in (value, to_x, *to_parameters)]


def both(x, weight, groups, bias=None):
    """The outcomes of the native and of the plain form for the same numbers."""
    out, width, size, _ = weight.shape
    results = []
    for plain in (False, True):
        cell = Conv2d(width * groups, out, size, groups, bias is not None)
        assert cell.native
        cell.native = not plain
        ops.assign(cell.weight, tensor(weight))
        if bias is not None:
            ops.assign(cell.bias, tensor(bias))
        shape = (x.shape[0], out, *x.shape[2:])
        upstream = tensor(np.random.default_rng(1).standard_normal(shape))
        results.append(outcome(cell, tensor(x), upstream))
    return results


@needs_operator
@few
@given(
    batch=st.integers(1, 3),
    groups=st.sampled_from([1, 3]),
    channels=st.integers(1, 9) | st.sampled_from([16, 32, 48]),  # of whole vectors, by Winograd
    outputs=st.integers(1, 35) | st.sampled_from([16, 32]),
    height=st.integers(1, 19),
    width=st.sampled_from([4, 16, 24, 32, 48]),  # of 1x1 kernels, any whole number of vectors
    kernel=st.sampled_from([1, 3, 5, 7]),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equals_the_plain_operator(
    batch, groups, channels, outputs, height, width, kernel, bias, seed
):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, groups * channels, height, width))
    weight = rng.standard_normal((groups * outputs, channels, kernel, kernel))
    results = both(x, weight, groups, rng.standard_normal(groups * outputs) if bias else None)
    for name, ours, plain in zip(("y", "dx", "dw", "db"), *results, strict=False):
        atol = 5e-6 * np.abs(plain).max()
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=atol, err_msg=name)


@needs_operator
@pytest.mark.parametrize("groups", [1, 3])
def test_winograd_equals_the_plain_operator(groups, rng):
    x = rng.standard_normal((9, groups * 16, 8, 16))
    results = both(x, rng.standard_normal((groups * 32, 16, 3, 3)), groups)
    for name, ours, plain in zip(("y", "dx", "dw"), *results, strict=True):
        atol = 5e-6 * np.abs(plain).max()
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=atol, err_msg=name)


@needs_operator
def test_nan_spreads_as_far_as_the_kernel_and_no_further(rng):
    x = rng.standard_normal((2, 6, 5, 16))
    x[1, 4, 2, 7] = np.nan  # in the last of three groups
    value, to_x, to_weight = both(x, rng.standard_normal((9, 2, 3, 3)), 3)[0]
    bad = np.zeros(value.shape, bool)
    bad[1, 6:, 1:4, 6:9] = True
    assert (np.isnan(value) == bad).all()
    assert np.isfinite(to_x).all()
    assert np.isnan(to_weight[6:, 0]).all()
    assert np.isfinite(to_weight[:6]).all()
    assert np.isfinite(to_weight[6:, 1]).all()


@needs_operator
@pytest.mark.parametrize(
    ("kernel", "width", "train", "dtype"),
    [
        (1, 6, True, ms.float32),
        (9, 16, True, ms.float32),
        (3, 20, True, ms.float32),
        (3, 16, False, ms.float32),
        (3, 16, True, ms.float16),
    ],
)
def test_the_plain_operator_serves_the_rest(kernel, width, train, dtype, rng):
    cell = Conv2d(2, 3, kernel).set_train(train)
    cell.operator = None  # would raise if it were called
    x = tensor(rng.standard_normal((1, 2, 4, width)))
    if dtype == ms.float16:
        cell.to_float(dtype)
    assert cell(x.astype(dtype)).shape == (1, 3, 4, width)


def test_without_a_compiler_training_goes_on(tmp_path, monkeypatch, rng):
    monkeypatch.setenv("MAAM_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("MAAM_NATIVE", raising=False)
    assert build.status() == (False, "no C++ compiler (g++ or c++) on the PATH")
    cell = Conv2d(2, 3, 3).set_train(True)
    assert not cell.native
    assert cell(tensor(rng.random((1, 2, 4, 16)))).shape == (1, 3, 4, 16)


@needs_operator
def test_the_gradient_of_the_image_is_left_out(tmp_path):
    """Nobody asks for it, and it costs as much as the layer itself."""
    ms.set_context(mode=ms.GRAPH_MODE, save_graphs=2, save_graphs_path=str(tmp_path))
    cell = Conv2d(3, 4, 3).set_train(True)
    try:
        ms.grad(cell, None, cell.trainable_params())(tensor(np.ones((1, 3, 4, 16))))
    finally:
        ms.set_context(save_graphs=0)
    (graph,) = tmp_path.glob("graph_build_*.ir")
    assert "ConvolutionGradWeight" in graph.read_text()
    assert "ConvolutionGradInput" not in graph.read_text()


@pytest.mark.slow
@needs_operator
@pytest.mark.parametrize("name", ["maam", "maam-k357", "cnn"])
def test_training_steps_with_and_without(name, rng, monkeypatch):
    ms.set_context(mode=ms.GRAPH_MODE)
    images, labels = tensor(rng.random((4, 3, 32, 32))), Tensor(np.arange(4, dtype=np.int32))

    def train(plain=False):
        ms.set_seed(0)
        net = create_model(name)
        ours = [cell for _, cell in net.cells_and_names() if isinstance(cell, Conv2d)]
        assert any(cell.native for cell in ours)
        for cell in ours:
            cell.native = cell.native and not plain
        config = TrainConfig(epochs=1, optimizer="sgd")
        step = make_train_step(net, make_optimizer(net, config), config)
        net.set_train(True)
        rate, decay = tensor(config.learning_rate), tensor(0)
        losses = [float(step(images, labels, rate, decay)[0]) for _ in range(2)]
        return losses, [(p.name, p.asnumpy().copy()) for p in net.get_parameters()]

    first, again, plain = train(), train(), train(plain=True)
    assert first[0] == again[0]  # to the last bit
    np.testing.assert_allclose(first[0], plain[0], rtol=1e-4)
    for ours, same, other in zip(first[1], again[1], plain[1], strict=True):
        assert ours[0] == other[0]
        assert (ours[1] == same[1]).all()
        np.testing.assert_allclose(ours[1], other[1], rtol=1e-2, atol=1e-3)


def digests():
    """Of the value and the gradients for fixed numbers, large enough for threads."""
    rng = np.random.default_rng(0)
    results = both(rng.random((9, 48, 17, 32)), rng.standard_normal((111, 16, 3, 3)), 3)[0]
    return [hashlib.sha256(result.tobytes()).hexdigest() for result in results]


@pytest.mark.slow
@needs_operator
def test_the_result_does_not_depend_on_the_number_of_threads():
    code = (
        "import os, sys; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1]);"
        "import maam, test_convolution; print(*test_convolution.digests())"
    )
    paths = [str(Path(maam.__file__).parents[1]), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    alone = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True
    )
    assert alone.stdout.split() == digests()


@needs_operator
@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE])
@pytest.mark.parametrize("channels", [1, 4, 6])
def test_images_of_other_channels_are_refused(channels, mode):
    before = ms.get_context("mode")
    ms.set_context(mode=mode)
    try:
        cell = Conv2d(3, 16, 3).set_train(True)
        with pytest.raises((ValueError, RuntimeError), match=r"(?i)channel|shape"):
            cell(tensor(np.ones((2, channels, 16, 16)))).asnumpy()
    finally:
        ms.set_context(mode=before)


@needs_operator
def test_the_operator_itself_refuses_them():
    cell = Conv2d(3, 16, 3)
    for channels in (1, 4):
        with pytest.raises(RuntimeError, match="is 3"):  # kBadSizes
            cell.operator(tensor(np.ones((2, channels, 16, 16))), cell.weight).asnumpy()


@pytest.mark.parametrize("shape", [(0, 3, 8, 16), (2, 3, 1, 16)])
def test_empty_maps_are_left_to_mindspore(shape):
    module = maam.MAAM(3, 8, layers="p1").set_train(True)
    with pytest.raises((ValueError, RuntimeError)) as caught:
        module(tensor(np.ones(shape))).asnumpy()
    assert "AOT" not in str(caught.value)
