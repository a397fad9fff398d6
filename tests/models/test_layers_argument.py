"""The layers of an agent: presets are tuples, tuples are free, and what can't be says why."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from both_frameworks import randomise
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor

import maam.mindspore
import maam.torch
from maam.models.agents import POOL, PRESETS, agent_layers, convolutions

FRAMEWORKS = (maam.mindspore, maam.torch)
few = settings(max_examples=15, deadline=None)
WIDE = 12


def shapes(framework, layers, **options):
    """The shape of every parameter and statistic of a module, by name."""
    net = framework.MAAM(3, WIDE, (3, 3, 1), layers, **options)
    return {name: array.shape for name, array in framework.get_weights(net).items()}


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=["mindspore", "torch"])
@pytest.mark.parametrize(
    ("preset", "layers"),
    [
        ("p1", (WIDE, "pool")),
        ("p2", (WIDE // 2, "pool", WIDE)),
        ("p3", (WIDE // 4, WIDE, "pool")),
    ],
)
def test_a_preset_is_a_tuple(framework, preset, layers):
    assert shapes(framework, preset) == shapes(framework, layers) == shapes(framework, [*layers])
    others = {"p1", "p2", "p3"} - {preset}
    assert all(shapes(framework, other) != shapes(framework, layers) for other in others)


def test_presets_are_those_of_the_documentation():
    assert set(PRESETS) == {"p1", "p2", "p3"}
    for cls in (maam.mindspore.MAAM, maam.torch.MAAM):
        default = cls(3, WIDE)
        assert default.spec.layers == agent_layers("p2", WIDE)
    for framework in FRAMEWORKS:
        for preset in PRESETS:
            assert f'"{preset}"' in (framework.AgentBlock.__doc__ or "")


@few
@given(
    before=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    after=st.lists(st.integers(1, 5), max_size=2),
    kernels=st.lists(st.sampled_from([1, 3]), min_size=1, max_size=3),
    pool=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_layers_compute_the_same_in_both_frameworks(before, after, kernels, pool, seed):
    layers = (*before, POOL, *after)
    options = (2, (before + after)[-1], kernels, layers, pool)
    nets = [framework.MAAM(*options) for framework in FRAMEWORKS]
    randomise(nets[0], nets[1], seed)
    widths = [
        weight.shape[0] // kernels.count(kernels[0])
        for name, weight in maam.torch.get_weights(nets[1]).items()
        if name.startswith("agents.0.layers.conv")
    ]
    if len(set(kernels)) == 1:
        assert widths == before + after
    images = np.random.default_rng(seed).normal(size=(2, 2, 6, 4)).astype(np.float32)
    expected = nets[0].set_train(False)(Tensor(images)).asnumpy()
    with torch.inference_mode():
        found = nets[1].eval()(torch.from_numpy(images)).numpy()
    assert found.shape == expected.shape == (2, options[1], *((3, 2) if pool else (6, 4)))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=["mindspore", "torch"])
def test_a_deep_agent_is_folded(framework, rng):
    """Ten convolutions and more: the last by its number, not by its name."""
    nets = [other.MAAM(2, 3, (3, 3), (4,) * 10 + (POOL, 3)) for other in FRAMEWORKS]
    randomise(nets[0], nets[1], seed=1)
    images = rng.normal(size=(2, 2, 6, 6)).astype(np.float32)
    net = nets[FRAMEWORKS.index(framework)]

    def outputs(net):
        if framework is maam.torch:
            with torch.inference_mode():
                return net.eval()(torch.from_numpy(images)).numpy()
        return net.set_train(False)(Tensor(images)).asnumpy()

    expected = outputs(net)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(outputs(framework.fuse(net)), expected, rtol=1e-3, atol=1e-4)


@given(
    widths=st.lists(st.integers(1, 64), min_size=1, max_size=5),
    place=st.integers(1, 5),
    agents=st.integers(1, 4),
    pool=st.booleans(),
)
def test_convolutions_follow_each_other_and_one_pools(widths, place, agents, pool):
    place = min(place, len(widths))
    layers = (*widths[:place], POOL, *widths[place:])
    specs = convolutions(7, widths[-1], layers, agents, pool)
    assert [spec.out_channels for spec in specs] == [agents * width for width in widths]
    assert [spec.in_channels for spec in specs] == [7, *(agents * w for w in widths[:-1])]
    assert [spec.groups for spec in specs] == [1] + [agents] * (len(widths) - 1)
    assert [spec.pool for spec in specs] == [pool and n == place for n in range(1, len(widths) + 1)]


BAD = [
    ("p9", "one of p1, p2, p3, or a tuple such as .*, not 'p9'"),
    ("", "one of p1, p2, p3, .* not ''"),
    ("pool", "one of p1, p2, p3, .* not 'pool'"),
    (64, "one of p1, p2, p3, .* not 64"),
    (None, "one of p1, p2, p3, .* not None"),
    ({64, "pool"}, "one of p1, p2, p3, .* not {"),
    ((), r"numbers of channels and 'pool', not \(\)"),
    (("pool",), "numbers of channels and 'pool', not"),
    (("p2",), "numbers of channels and 'pool', not"),
    ((0, "pool", WIDE), "numbers of channels and 'pool', not"),
    ((-4, "pool", WIDE), "numbers of channels and 'pool', not"),
    ((6.0, "pool", WIDE), "numbers of channels and 'pool', not"),
    ((True, "pool", WIDE), "numbers of channels and 'pool', not"),
    (("6", "pool", WIDE), "numbers of channels and 'pool', not"),
    ((6, "Pool", WIDE), "numbers of channels and 'pool', not"),
    ((6, None, WIDE), "numbers of channels and 'pool', not"),
    (((6, "pool"), WIDE), "numbers of channels and 'pool', not"),
    ((WIDE,), "one 'pool', after a convolution, not"),
    ((6, "pool", 6, "pool", WIDE), "one 'pool', after a convolution, not"),
    (("pool", 6, WIDE), "one 'pool', after a convolution, not"),
    ((6, "pool", WIDE + 1), f"must be out_channels, {WIDE}"),
    ((WIDE, "pool", 6), f"must be out_channels, {WIDE}"),
]


@pytest.mark.parametrize(("layers", "message"), BAD, ids=[str(layers) for layers, _ in BAD])
def test_bad_layers_are_named(layers, message):
    for framework in FRAMEWORKS:
        for build in (framework.MAAM, framework.AgentBlock):
            with pytest.raises(ValueError, match=message):
                build(3, WIDE, layers=layers)


anything = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 20), st.floats(), st.text(max_size=5), st.just(POOL)
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(anything, st.lists(anything, max_size=5), st.dictionaries(anything, anything)))
def test_whatever_is_given_becomes_layers_or_a_value_error(layers):
    try:
        stages = agent_layers(layers, WIDE)
    except ValueError as error:
        assert "layers" in str(error)
        return
    assert stages.count(POOL) == 1 and stages[0] != POOL
    widths = [stage for stage in stages if stage != POOL]
    assert widths[-1] == WIDE and all(type(width) is int and width > 0 for width in widths)
    assert agent_layers(stages, WIDE) == stages
