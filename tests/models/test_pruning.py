"""Channels of MAAMNet that go: which, and what is left."""

from __future__ import annotations

import numpy as np
import pytest
from layered_nets import make_meta, random_net

import maam.torch
from maam.models.pruning import fits_into, prune_arrays, pruned_stages
from maam.models.widths import maamnet_name, maamnet_stages

WIDE = ((24, 2), (32, 1), (40, 2))
NARROW = ((8, 2), (16, 1), (24, 2))


@pytest.mark.parametrize(
    ("model", "keep", "widths"),
    [
        ("maamnet-nano", 0.5, [16, 32, 64]),
        ("maamnet-tiny", 0.5, [24, 48, 96]),
        ("maamnet-tiny", 0.7, [32, 64, 136]),
        ("maamnet-nano", 0.01, [8, 8, 8]),
        ("maamnet-nano", 1, [32, 64, 128]),
        ("maamnet-12x1-20x1", 0.9, [8, 16]),
        ("maamnet-12x1-20x1", 1, [12, 20]),
    ],
)
def test_widths_are_multiples_of_8(model, keep, widths):
    stages = maamnet_stages(model)
    assert stages is not None
    pruned = pruned_stages(stages, keep)
    assert [wide for wide, _ in pruned] == widths
    assert fits_into(pruned, stages)


def test_what_fits_into_what():
    assert fits_into(NARROW, WIDE) and fits_into(WIDE, WIDE)
    assert not fits_into(WIDE, NARROW)
    assert not fits_into(NARROW[:2], WIDE)
    assert not fits_into(((8, 1), *NARROW[1:]), WIDE)


def network(stages, arrays=None):
    net = random_net(make_meta(maamnet_name(stages), (40, 40)))
    if arrays is not None:
        maam.torch.set_weights(net, arrays, "pruned")
    return net


def logits(net, rng):
    images = rng.normal(size=(4, 3, 40, 40)).astype(np.float32)
    return maam.torch.inference(net)(images)


def test_nothing_changes_where_all_are_kept():
    arrays = maam.torch.get_weights(network(WIDE))
    same = prune_arrays(arrays, WIDE, WIDE)
    assert same.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(same[name], array, err_msg=name)


def silenced(channels):
    """A network in whose stages some channels hold zeros, and are read as zeros."""
    arrays = maam.torch.get_weights(network(WIDE))
    read, number = channels[0], 0
    for stage, (_, count) in enumerate(WIDE):
        for block in range(number, number + count):
            for norm, dead in ((f"{block}.reduce", channels[stage]), (f"{block}.layer", read)):
                for name in ("gamma", "beta"):
                    arrays[f"blocks.{norm}.norm.{name}"][dead] = 0
            read = channels[stage]
        number += count
    for name in ("gamma", "beta"):
        arrays[f"stem.norm.{name}"][channels[0]] = 0
    return arrays


def test_channels_that_do_nothing_go_and_the_answers_stay(rng):
    pairs = zip(WIDE, NARROW, strict=True)
    dead = [rng.permutation(wide)[: wide - less] for (wide, _), (less, _) in pairs]
    arrays = silenced(dead)
    before = {name: array.copy() for name, array in arrays.items()}
    pruned = prune_arrays(arrays, WIDE, NARROW)
    assert all(np.array_equal(arrays[name], array) for name, array in before.items())
    wide, narrow = network(WIDE, arrays), network(NARROW, pruned)
    assert logits(wide, np.random.default_rng(3)).std() > 0.01
    np.testing.assert_allclose(
        logits(narrow, np.random.default_rng(3)),
        logits(wide, np.random.default_rng(3)),
        rtol=1e-3,
        atol=1e-4,
    )
    # The stage's own channels are left in their order.
    alive = np.setdiff1d(np.arange(40), dead[2])
    np.testing.assert_array_equal(
        pruned["classifier.weight"], arrays["classifier.weight"][:, alive]
    )


def test_a_channel_that_is_written_but_never_read_goes():
    arrays = maam.torch.get_weights(network(WIDE))
    arrays["blocks.4.layer.norm.gamma"][5] = 0
    arrays["classifier.weight"][:, 5] = 0
    pruned = prune_arrays(arrays, WIDE, (*WIDE[:2], (32, 2)))
    assert not (pruned["classifier.weight"] == 0).any()
