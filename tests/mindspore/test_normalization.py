"""The fused operator against the plain ones, and what becomes of training without it."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, nn, ops

import maam
from maam import MAAM
from maam.core.config import TrainConfig
from maam.mindspore.layers import FusedNorm
from maam.mindspore.models import create_model
from maam.mindspore.step import make_optimizer, make_train_step
from maam.native import build

READY, REASON = build.library("mindspore", "normalization")
needs_operator = pytest.mark.skipif(not READY, reason=REASON)
few = settings(max_examples=25, deadline=None, derandomize=True)  # no near-ties by chance


class Fused(nn.Cell):
    """BatchNorm, max pooling if ``pool``, ReLU, and a weighted sum, computed by ``FusedNorm``."""

    def __init__(self, channels, pool=False):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.pool = nn.MaxPool2d(2, 2) if pool else nn.Identity()
        self.relu = nn.ReLU()
        self.fused = FusedNorm(pool)

    def construct(self, x, weights=None):
        return self.fused(x, self.norm, self.pool, self.relu, weights)


class Plain(nn.Cell):
    """The definition, from MindSpore's own operators."""

    def __init__(self, channels, pool):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.pool = nn.MaxPool2d(2, 2) if pool else nn.Identity()

    def construct(self, x, weights):
        maps = ops.relu(self.pool(self.norm(x)))
        batch, channels, height, width = maps.shape
        agents = weights.shape[0]
        split = maps.reshape(batch, agents, channels // agents, height, width)
        return (split * weights.reshape(1, agents, 1, 1, 1)).sum(1)


def tensor(array):
    return Tensor(np.asarray(array, np.float32))


def outcome(cell, x, weights, upstream):
    """Value, gradients of x, weights, gamma and beta, and the moving statistics after one pass."""
    norm = cell.norm
    cell.set_train(True)

    def forward(x, weights):
        y = cell(x, weights)
        return (y * upstream).sum(), y

    differentiate = ms.value_and_grad(forward, (0, 1), [norm.gamma, norm.beta], has_aux=True)
    (_, value), (inputs, parameters) = differentiate(x, weights)
    found = [value, *inputs, *parameters, norm.moving_mean, norm.moving_variance]
    return [each.asnumpy().copy() for each in found]


NAMES = ("y", "dx", "dweights", "dgamma", "dbeta", "moving mean", "moving variance")


def both(x, weights, gamma, beta, pool, upstream=None):
    """The outcomes of the fused and of the plain form for the same numbers."""
    shape = (
        x.shape[0],
        x.shape[1] // len(weights),
        *(s // (2 if pool else 1) for s in x.shape[2:]),
    )
    if upstream is None:
        upstream = np.random.default_rng(1).standard_normal(shape)
    fused, plain = Fused(x.shape[1], pool), Plain(x.shape[1], pool)
    assert fused.fused.native
    results = []
    for cell in (fused, plain):
        ops.assign(cell.norm.gamma, tensor(gamma))
        ops.assign(cell.norm.beta, tensor(beta))
        results.append(outcome(cell, tensor(x), tensor(weights), tensor(upstream)))
    return results


def assert_same(results, rtol=1e-4):
    for name, ours, plain in zip(NAMES, *results, strict=True):
        scale = np.abs(plain).max() + 1e-6
        np.testing.assert_allclose(ours, plain, rtol=rtol, atol=1e-5 * scale, err_msg=name)


@needs_operator
@few
@given(
    batch=st.integers(1, 5),
    agents=st.integers(1, 4),
    channels=st.integers(1, 9),
    height=st.integers(2, 35),
    width=st.integers(2, 35),
    pool=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equals_the_plain_operators(batch, agents, channels, height, width, pool, seed):
    rng = np.random.default_rng(seed)
    wide = agents * channels
    x = rng.standard_normal((batch, wide, height, width)) * 3 + rng.standard_normal((1, wide, 1, 1))
    gamma, beta = rng.standard_normal((2, wide)) + 0.1  # either sign
    assert_same(both(x, rng.random(agents), gamma, beta, pool))


@needs_operator
@pytest.mark.parametrize("pool", [False, True])
def test_zero_gamma_passes_the_gradient_to_the_first_pixel_of_a_window(rng, pool):
    """Every value of a channel is then beta, so all pixels of a window are equal."""
    x = rng.standard_normal((3, 4, 5, 6))
    ours, plain = both(x, [0.3, 0.7], [0, 0, 0, 0], [1, -1, 0.5, 0], pool)
    assert_same((ours, plain))
    np.testing.assert_allclose(ours[0][:, 0], 0.3 + 0.7 * 0.5, rtol=1e-6)


@needs_operator
def test_the_first_of_equal_pixels_gets_the_gradient():
    """All pixels but one window's are equal, and gamma of either sign."""
    x = np.zeros((2, 2, 4, 4))
    x[0, :, :2, :2] = [[1, 1], [1, 1]]
    x[1, :, 2:, 2:] = [[-1, 2], [2, -1]]
    assert_same(both(x, [1.0], [1, -1], [0.5, 0.5], pool=True))


@needs_operator
def test_statistics_hold_where_the_mean_is_large(rng):
    """E[x^2] - E[x]^2 in float32 would lose all digits here; x itself has three of them left."""
    x = (1e4 + rng.standard_normal((8, 3, 16, 16))).astype(np.float32)
    cell = Fused(3).set_train(True)
    cell(Tensor(x))
    expected = x.astype(np.float64).var((0, 2, 3), ddof=1)
    found = (cell.norm.moving_variance.asnumpy() - 0.9) * 10
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@needs_operator
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("pool", [False, True])
def test_a_value_that_is_not_finite_shows(rng, bad, pool):
    x = rng.standard_normal((2, 2, 4, 4))
    x[1, 0, 1, 1] = bad
    y = Fused(2, pool).set_train(True)(tensor(x)).asnumpy()
    assert np.isnan(y[:, 0]).all()
    assert np.isfinite(y[:, 1]).all()


@needs_operator
def test_operators_with_and_without_pooling_are_told_apart(rng):
    """MindSpore keeps inferred shapes by the operator's attributes."""
    x = tensor(rng.standard_normal((2, 3, 4, 4)))
    shapes = [Fused(3, pool).set_train(True)(x).shape for pool in (False, True, False)]
    assert shapes == [(2, 3, 4, 4), (2, 3, 2, 2), (2, 3, 4, 4)]


@needs_operator
def test_plain_operators_serve_inference_and_other_precisions(rng):
    cell = Fused(2)
    cell.fused.operator = None  # would raise if it were called
    x = tensor(rng.standard_normal((2, 2, 4, 4)))
    assert cell.set_train(False)(x).shape == (2, 2, 4, 4)
    assert cell.set_train(True)(x.astype(ms.float16)).dtype == ms.float16


def without_operator(monkeypatch, build):
    with monkeypatch.context() as patch:
        patch.setenv("MAAM_NATIVE", "0")
        return build()


def module_outcome(net, x, upstream):
    def forward(x):
        return (net(x) * upstream).sum()

    value, (to_x, to_weights) = ms.value_and_grad(forward, 0, net.trainable_params())(x)
    return [value, to_x, *to_weights, *(p for p in net.get_parameters() if not p.requires_grad)]


@needs_operator
@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE])
@pytest.mark.parametrize(
    ("kernels", "layers"),
    [((3, 3, 3), "p1"), ((3, 3, 3), "p2"), ((3, 3, 3), "p3"), ((3, 5, 3, 3), "p2"), ((3,), "p3")],
)
def test_module_is_the_same_with_and_without(kernels, layers, mode, rng, monkeypatch):
    ms.set_context(mode=mode)
    x, upstream = (tensor(rng.standard_normal(s)) for s in ((4, 3, 9, 6), (4, 8, 4, 3)))

    def build():
        return MAAM(3, 8, kernels, layers).set_train(True)

    nets = [build(), without_operator(monkeypatch, build)]
    for ours, plain in zip(nets[0].get_parameters(), nets[1].get_parameters(), strict=True):
        assert ours.name == plain.name
        value = np.random.default_rng(len(ours.name)).standard_normal(ours.shape) * 0.5
        for parameter in (ours, plain):
            parameter.set_data(tensor(np.abs(value) if "moving" in ours.name else value))
    names = [parameter.name for parameter in nets[0].get_parameters()]
    results = [module_outcome(net, x, upstream) for net in nets]
    assert [parameter.name for parameter in nets[0].get_parameters()] == names
    for ours, plain in zip(*results, strict=True):
        ours, plain = ours.asnumpy(), plain.asnumpy()
        np.testing.assert_allclose(ours, plain, rtol=1e-3, atol=1e-4 * np.abs(plain).max() + 1e-6)


@pytest.mark.slow
@needs_operator
def test_training_steps_of_the_whole_model(rng, monkeypatch):
    ms.set_context(mode=ms.GRAPH_MODE)
    images, labels = tensor(rng.random((8, 3, 16, 16))), Tensor(np.arange(8, dtype=np.int32))

    def train():
        ms.set_seed(0)
        net = create_model("maam", image_size=(16, 16))
        config = TrainConfig(epochs=1, optimizer="sgd")
        step = make_train_step(net, make_optimizer(net, config), config)
        net.set_train(True)
        rate, decay = tensor(config.learning_rate), tensor(0)
        losses = [float(step(images, labels, rate, decay)[0]) for _ in range(3)]
        return losses, [p.asnumpy().copy() for p in net.get_parameters()]

    first, again, plain = train(), train(), without_operator(monkeypatch, train)
    assert first[0] == again[0]  # to the last bit
    assert all((one == two).all() for one, two in zip(first[1], again[1], strict=True))
    np.testing.assert_allclose(first[0], plain[0], rtol=1e-3)
    for ours, other in zip(first[1], plain[1], strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-2, atol=1e-3)


ON_SOME_CORES = """
import os, sys
cores = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, cores[: int(sys.argv[1])])
import maam, hashlib, mindspore as ms, numpy as np
from test_normalization import Fused
x = ms.Tensor(np.random.default_rng(0).standard_normal((8, 64, 16, 16)).astype(np.float32))
cell = Fused(64, pool=True).set_train(True)
for result in (cell(x), ms.grad(cell)(x)):
    print(hashlib.sha256(result.asnumpy().tobytes()).hexdigest())
"""


@pytest.mark.slow
@needs_operator
def test_the_result_does_not_depend_on_the_number_of_threads():
    paths = [str(Path(maam.__file__).parents[1]), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    first, second = (
        subprocess.check_output([sys.executable, "-c", ON_SOME_CORES, cores], env=environment)
        for cores in ("1", "2")
    )
    assert first == second != b""


@needs_operator
def test_a_network_with_operators_can_be_copied(rng):
    net = MAAM(3, 4).set_train(True)
    images = tensor(rng.random((2, 3, 4, 16)))
    np.testing.assert_array_equal(copy.deepcopy(net)(images).asnumpy(), net(images).asnumpy())


@needs_operator
def test_frozen_statistics_stay(rng):
    cell = Fused(2).set_train(True)
    cell.norm.use_batch_statistics = False
    images = tensor(5 + rng.random((4, 2, 4, 4)))
    expected = images.asnumpy() / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(cell(images).asnumpy(), expected, rtol=1e-4)
    assert (cell.norm.moving_mean.asnumpy() == 0).all()
