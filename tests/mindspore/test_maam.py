"""The module: shapes, equations 1 to 3, and that its fast form equals the plain one."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, nn, ops
from plain_maam import PlainMAAM, matching_parameters

from maam import MAAM, AgentBlock, AgentFusion, Reduce
from maam.mindspore.maam import AgentExcitation

few = settings(max_examples=12, deadline=None)
sizes = st.integers(2, 13)


def images(rng, *shape):
    return Tensor(rng.standard_normal(shape).astype(np.float32))


def randomize(net, rng):
    """Random weights, statistics and negative gammas, so that nothing hides behind a default."""
    for parameter in net.get_parameters():
        value = rng.standard_normal(parameter.shape) * 0.5
        if parameter.name.endswith("moving_variance"):
            value = rng.uniform(0.5, 2, parameter.shape)
        ops.assign(parameter, Tensor(value.astype(np.float32)))


@few
@given(
    height=sizes,
    width=sizes,
    kernels=st.lists(st.sampled_from([1, 3, 5]), min_size=1, max_size=4),
    layers=st.sampled_from(["p1", "p2", "p3"]),
    pool=st.booleans(),
)
def test_output_shape_for_any_input_size(height, width, kernels, layers, pool):
    net = MAAM(2, 8, kernels, layers, pool).set_train(False)
    halve = 2 if pool else 1
    out = net(ops.ones((3, 2, height, width)))
    assert out.shape == (3, 8, height // halve, width // halve)
    assert np.isfinite(out.asnumpy()).all()


@few
@given(height=sizes, width=sizes, pool=st.booleans())
def test_multi_resolution_agents_line_up(height, width, pool):
    net = MAAM(1, 4, (3, 3, 3), pool=pool, resolutions=(1, 2, 4)).set_train(False)
    halve = 2 if pool else 1
    assert net(ops.ones((1, 1, height, width))).shape == (1, 4, height // halve, width // halve)


def test_a_coarse_agent_sees_window_means(rng):
    """An identity kernel shows what the agent sees: the mean of each 4x4 window, enlarged."""
    block = AgentBlock(1, 1, 1, "p1", resolution=4).set_train(False)
    block.layers.conv1.weight.set_data(ops.ones((1, 1, 1, 1)))
    x = np.abs(rng.standard_normal((1, 1, 8, 8))).astype(np.float32)
    means = x[0, 0].reshape(2, 4, 2, 4).mean((1, 3))
    expected = means.repeat(2, 0).repeat(2, 1) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(block(Tensor(x)).asnumpy()[0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("layers", ["p1", "p2", "p3"])
@pytest.mark.parametrize("kernels", [(3, 3, 3), (1, 3, 5), (3, 5, 3, 3), (3,)])
def test_equals_the_plain_form_in_values_gradients_and_statistics(layers, kernels, rng):
    plain, fast = PlainMAAM(3, 8, kernels, layers), MAAM(3, 8, kernels, layers)
    randomize(plain, rng)
    pairs = matching_parameters(plain, fast)
    for own, merged, part in pairs:
        value = np.array(merged.asnumpy())
        value[part] = own.asnumpy()
        ops.assign(merged, Tensor(value))
    x, upstream = images(rng, 4, 3, 7, 6), images(rng, 4, 8, 3, 3)

    results = []
    for net in (plain, fast):
        net.set_train(True)
        gradient = ms.value_and_grad(
            lambda x, net=net: (net(x) * upstream).sum(), 0, net.trainable_params()
        )
        value, (to_x, to_weights) = gradient(x)
        named = dict(zip((p.name for p in net.trainable_params()), to_weights, strict=True))
        results.append((value.asnumpy(), to_x.asnumpy(), named))
    (value, to_x, ours), (fast_value, fast_to_x, theirs) = results

    np.testing.assert_allclose(fast_value, value, rtol=1e-4)
    np.testing.assert_allclose(fast_to_x, to_x, rtol=1e-3, atol=1e-4)
    for own, merged, part in pairs:
        if own.requires_grad:
            mine, other = ours[own.name].asnumpy(), theirs[merged.name].asnumpy()[part]
            np.testing.assert_allclose(other, mine, rtol=2e-3, atol=2e-3, err_msg=own.name)
        else:  # the running statistics have moved alike
            np.testing.assert_allclose(merged.asnumpy()[part], own.asnumpy(), rtol=1e-4, atol=1e-5)
    plain.set_train(False)
    fast.set_train(False)
    np.testing.assert_allclose(fast(x).asnumpy(), plain(x).asnumpy(), rtol=1e-4, atol=1e-5)


@few
@given(agents=st.integers(1, 5), seed=st.integers(0, 99))
def test_fusion_is_equation_2(agents, seed):
    rng = np.random.default_rng(seed)
    fusion = AgentFusion(agents)
    alpha = rng.standard_normal(agents).astype(np.float32)
    ops.assign(fusion.alpha, Tensor(alpha))
    maps = rng.standard_normal((agents, 2, 3, 4, 5)).astype(np.float32)
    weights = np.exp(alpha) / np.exp(alpha).sum()
    expected = sum(w * m for w, m in zip(weights, maps, strict=True))
    stacked = Tensor(np.concatenate(maps, 1))
    np.testing.assert_allclose(fusion(stacked).asnumpy(), expected, rtol=1e-4, atol=1e-5)


def test_fixed_fusion_is_the_mean_and_has_no_parameter(rng):
    fusion = AgentFusion(3, learned=False)
    maps = rng.standard_normal((3, 2, 3, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(
        fusion(Tensor(np.concatenate(maps, 1))).asnumpy(), maps.mean(0), rtol=1e-4, atol=1e-6
    )
    assert not list(fusion.get_parameters())


@few
@given(agents=st.integers(1, 5), channels=st.sampled_from([3, 32]), seed=st.integers(0, 99))
def test_excitation_is_equation_2_with_weights_of_each_image(agents, channels, seed):
    rng = np.random.default_rng(seed)
    fusion = AgentExcitation(agents, channels)
    randomize(fusion, rng)
    w1, b1, w2, b2 = (p.asnumpy() for p in fusion.get_parameters())
    assert w1.shape == (max(agents, agents * channels // 16), agents * channels)
    maps = rng.standard_normal((2, agents, channels, 4, 5)).astype(np.float32)

    means = maps.mean((3, 4)).reshape(2, -1)
    scores = np.exp(np.maximum(means @ w1.T + b1, 0) @ w2.T + b2)
    weights = scores / scores.sum(1, keepdims=True)
    expected = np.einsum("na,nachw->nchw", weights, maps)

    stacked = Tensor(maps.reshape(2, -1, 4, 5))
    np.testing.assert_allclose(fusion.weights(stacked).asnumpy(), weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(fusion(stacked).asnumpy(), expected, rtol=1e-4, atol=1e-5)


def test_concat_compresses_all_maps_side_by_side(rng):
    net = MAAM(2, 4, (1, 3, 3), fusion="concat").set_train(False)
    randomize(net, rng)
    x = images(rng, 2, 2, 6, 6)
    maps = np.concatenate([agent(x).asnumpy() for agent in net.agents], 1)
    assert maps.shape == (2, 12, 3, 3)
    expected = compressed(net.reduce, maps)
    np.testing.assert_allclose(net(x).asnumpy(), expected, rtol=1e-4, atol=1e-5)


def test_fusion_scalars_learn(rng):
    """The gradient of alpha is the softmax's: it favours the agent that points downhill."""
    fusion = AgentFusion(2)
    maps = Tensor(np.stack([np.ones((1, 3, 3)), -np.ones((1, 3, 3))], 1).astype(np.float32))
    gradient = ms.grad(lambda maps: fusion(maps).sum(), None, fusion.trainable_params())(maps)
    np.testing.assert_allclose(gradient[0].asnumpy(), [4.5, -4.5], rtol=1e-5)


def compressed(reduce, x):
    """Equation 3 in NumPy."""
    weight = reduce.conv.weight.asnumpy()[:, :, 0, 0]
    mapped = np.einsum("oc,nchw->nohw", weight, x)
    norm = reduce.norm
    gamma, beta, mean, variance = (
        p.asnumpy()[:, None, None]
        for p in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    return np.maximum((mapped - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0)


def test_reduce_is_equation_3(rng):
    reduce = Reduce(3, 2).set_train(False)
    randomize(reduce, rng)
    x = rng.standard_normal((2, 3, 4, 4)).astype(np.float32)
    expected = compressed(reduce, x)
    np.testing.assert_allclose(reduce(Tensor(x)).asnumpy(), expected, rtol=1e-4, atol=1e-5)


def test_drops_into_another_network(rng):
    net = nn.SequentialCell(
        nn.Conv2d(1, 4, 3, pad_mode="same"), MAAM(4, 6), MAAM(6, 5, (1, 3), pool=False)
    )
    assert net(images(rng, 2, 1, 9, 11)).shape == (2, 5, 4, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_sizes": (2,)}, "odd"),
        ({"kernel_sizes": ()}, "at least 1"),
        ({"kernel_sizes": (), "fusion": "concat"}, "at least 1"),
        ({"fusion": "sum"}, "learned, fixed, concat, squeeze, not 'sum'"),
        ({"fusion": "concat", "reduce": False}, "'concat' needs reduce=True"),
        ({"layers": "p9"}, "p1, p2, p3"),
        ({"resolutions": (1, 2)}, "one of each per agent"),
        ({"resolutions": (1, 1, 3)}, "1 or even"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        MAAM(3, 8, **arguments)
