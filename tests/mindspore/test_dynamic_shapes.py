"""Inputs whose size is not known when a graph is compiled: the same values, gradients, statistics.

The native operators need sizes, so MindSpore's own serve then.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from maam.mindspore import MAAM, create_model
from maam.mindspore.layers import ConvNorm
from maam.mindspore.models.maamnet import Block
from maam.models.variants import AGENTS

CHANNELS = 6
LAYERS = {
    "maam": lambda: MAAM(CHANNELS, 8, (3, 3, 5)),
    "maam-multires": lambda: MAAM(CHANNELS, 8, (3, 3), resolutions=(1, 2)),
    "maam-squeeze": lambda: MAAM(CHANNELS, 8, (3, 3), fusion="squeeze"),
    "conv-norm": lambda: ConvNorm(CHANNELS, 8),
    "block": lambda: Block(CHANNELS, CHANNELS, AGENTS),
}
# A shape that is declared, and shapes that are then given.
BATCHES = [None, CHANNELS, 16, 16], [(2, CHANNELS, 16, 16), (5, CHANNELS, 16, 16)]
SIZES = [2, CHANNELS, None, None], [(2, CHANNELS, 16, 16), (2, CHANNELS, 9, 32)]
BOTH = [None, CHANNELS, None, None], [(2, CHANNELS, 16, 16), (5, CHANNELS, 9, 32)]


class Step(nn.Cell):
    """A network's output, and the gradients of a loss in its input and parameters."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.parameters = ms.ParameterTuple(net.trainable_params())
        self.differentiate = ops.GradOperation(get_all=True, get_by_list=True)

    def construct(self, x):
        return self.net(x), self.differentiate(self.loss, self.parameters)(x)

    def loss(self, x):
        return ops.sin(self.net(x)).sum()


def twins(make):
    """Two networks with the same weights, in training, in graph mode."""
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(0)
    one, two = make(), make()
    for parameter, other in zip(one.get_parameters(), two.get_parameters(), strict=True):
        ops.assign(other, parameter)
    return one.set_train(True), two.set_train(True)


def declare(cell, shape):
    cell.set_inputs(Tensor(shape=shape, dtype=ms.float32))
    return cell


def draw(shape):
    return Tensor(np.random.default_rng(shape[0]).standard_normal(shape).astype(np.float32))


def assert_near(found, expected):
    assert found.shape == expected.shape
    scale = max(1, np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * scale)


def slow_but_for(quick, names):
    """All names; tests of the others are slow ones."""
    return [name if name == quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize(
    ("declared", "given"), [BATCHES, SIZES, BOTH], ids=["batches", "sizes", "both"]
)
@pytest.mark.parametrize("name", slow_but_for("maam", LAYERS))
def test_training_is_that_of_known_shapes(name, declared, given):
    known, other = twins(LAYERS[name])
    steps = Step(known).set_train(True), declare(Step(other).set_train(True), declared)
    for shape in given:
        results = []
        for net, step in zip((known, other), steps, strict=True):
            y, (to_x, to_parameters) = step(draw(shape))
            results.append([y, *to_x, *to_parameters, *net.get_parameters()])
        for expected, found in zip(*results, strict=True):
            assert_near(found.asnumpy(), expected.asnumpy())


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", slow_but_for("maamnet-nano", ["maam", "maamnet-nano"]))
def test_whole_models_take_batches_of_any_size(name, train):
    known, other = twins(lambda: create_model(name, 5, CHANNELS, (16, 16)))
    known.set_train(train)
    declare(other.set_train(train), BATCHES[0])
    for shape in BATCHES[1]:
        assert_near(other(draw(shape)).asnumpy(), known(draw(shape)).asnumpy())
