"""MAAMNet by names that carry its widths."""

from __future__ import annotations

import numpy as np
import pytest
from both_frameworks import same_weights

import maam
import maam.mindspore
import maam.torch
from maam import MaamError
from maam.cli.app import run
from maam.models import describe_model, list_models
from maam.models.widths import maamnet_name, maamnet_stages

NAME = "maamnet-16x1-24x2-32x1"


def test_a_name_carries_the_stages():
    stages = ((16, 1), (24, 2), (32, 1))
    assert maamnet_stages(NAME) == stages and maamnet_name(stages) == NAME
    nano = maamnet_stages("maamnet-nano")
    assert nano == ((32, 1), (64, 5), (128, 3))
    assert maamnet_name(((32, 1), (64, 5), (128, 3))) == "maamnet-nano"
    assert maamnet_stages("cnn") is None and maamnet_stages("none") is None


def test_both_frameworks_build_the_same(rng):
    net, other = same_weights(NAME, 7, 3, (12, 12))
    counts = [maam.mindspore.count_parameters(net), maam.torch.count_parameters(other)]
    # Patches, depthwise taps and fusion weights, norms, 1x1 kernels, the stem and the last layer.
    taps = 9 + 25 + 9 + 1
    depthwise = (16 + 16 + 24 + 24) * (taps + 2) + 4 * 4
    pointwise = 16 * 16 + 16 * 24 + 24 * 24 + 24 * 32 + 2 * (16 + 24 + 24 + 32)
    stem, last = 16 * 27 + 2 * 16, 33 * 7
    assert counts == [depthwise + pointwise + stem + last] * 2
    images = rng.normal(size=(2, 3, 12, 12)).astype(np.float32)
    ours, others = maam.mindspore.inference(net)(images), maam.torch.inference(other)(images)
    np.testing.assert_allclose(ours, others, rtol=1e-4, atol=1e-4)


def test_it_is_named_but_in_no_table(capsys):
    assert NAME not in list_models() and list_models(NAME) == [NAME]
    assert "channels x blocks" in describe_model(NAME)
    assert run(["models", "maamnet-8x1"]) == 0
    assert "maamnet-8x1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("maamnet-0x1", "a stage can't have 0 channels: give a multiple of 4 from 8 to 1024"),
        ("maamnet-16x1-4x1", "a stage can't have 4 channels"),
        ("maamnet-18x1", "a stage can't have 18 channels"),
        ("maamnet-1028x1", "a stage can't have 1028 channels"),
        ("maamnet-999999999x1", "a stage can't have 999999999 channels"),
        ("maamnet-16x0", "a stage has 1 to 64 blocks, not 0"),
        ("maamnet-16x65", "a stage has 1 to 64 blocks, not 65"),
        ("maamnet" + "-8x1" * 7, "has 7 stages: 6 are the most"),
        ("maamnet-016x1", "without leading zeros"),
        ("maamnet-16x1-", "no model is called"),
        ("maamnet-16", "no model is called"),
        ("maamnet-16x1,32x1", "no model is called"),
        ("maamnet-" + "9" * 5000 + "x1", "no model is called"),
        ("maamnet-nan", "did you mean maamnet-nano?"),
    ],
)
def test_nonsense_is_one_line(name, words, capsys):
    with pytest.raises(MaamError) as caught:
        maam.train(data="digits", model=name)
    assert words in str(caught.value)
    if "leading" not in words:
        assert run(["train", "--model", name]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_too_many_stages_for_the_images():
    with pytest.raises(MaamError, match="images of 8x8 pixels are too small"):
        maam.torch.create_model("maamnet" + "-8x1" * 5, 10, 1, (8, 8))
