"""``maam quantize --finetune-epochs``: what rounding loses is learned anew, in a copy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from layered_nets import enlarge_a_channel, every_kind, preprocessing, random_images

import maam
import maam.torch
from maam import MaamError
from maam.cli.app import run as command
from maam.core.run_folder import RunFolder
from maam.data.base import ArraySplit
from maam.deploy.int8_file import read_int8
from maam.deploy.int8_tuning import fine_tuned
from maam.deploy.quantization import largest_values, with_limits


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> Path:
    """One channel between the layers of each block is a hundred times the others: same answers."""
    folder = tmp_path_factory.mktemp("tuning") / "run"
    options = {"data": "digits", "framework": "torch", "epochs": 2, "seed": 0}
    maam.train(**options, model="maamnet-nano", pretrained=True, out=folder)
    enlarge_a_channel(RunFolder(folder), 100)
    return folder


def test_what_rounding_loses_is_regained(uneven, tmp_path, capsys):
    folder = RunFolder(Path(shutil.copytree(uneven, tmp_path / "run")))
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    arguments = ["quantize", str(folder), "--max-drop", "4", "--json", "a.json"]
    assert command(arguments) == 1
    assert "try --finetune-epochs 5" in capsys.readouterr().err
    lost = json.loads(Path("a.json").read_text())
    assert lost["drop"] > 4 and lost["untuned_drop"] is None and not folder.int8.exists()

    assert command([*arguments, "--finetune-epochs", "5"]) == 0
    captured = capsys.readouterr()
    text = " ".join((captured.out + captured.err).split())
    report = json.loads(Path("a.json").read_text())
    assert report["untuned_drop"] == lost["drop"]
    assert report["drop"] < lost["drop"] - 3 and 1 <= report["epochs"] <= 5
    assert f"({lost['drop']:.2f} points before fine-tuning)" in text
    assert "on 1,294 training images, chosen by 144 others" in text
    test = maam.load_dataset("digits").test
    answers = read_int8(folder).logits(test.pixels()).argmax(1)
    assert float((answers == test.labels).mean()) == report["int8"]["accuracy"]
    assert maam.evaluate(folder.int8_model)["accuracy"] > report["float32"]["accuracy"] - 0.06
    assert all(path.read_bytes() == content for path, content in before.items())


def test_it_is_tried_only_where_too_much_is_lost(uneven, tmp_path):
    folder = Path(shutil.copytree(uneven, tmp_path / "run"))
    report = maam.quantize(folder, max_drop=100, finetune_epochs=3)
    assert report.untuned_drop is None and report.epochs == 0
    with pytest.raises(MaamError, match="finetune_epochs"):
        maam.quantize(folder, finetune_epochs=-1)


def split_of(net, count: int, seed: int) -> ArraySplit:
    images = random_images(count, seed=seed)
    labels = net.logits(preprocessing()(images).transpose(0, 2, 3, 1)).argmax(1)
    return ArraySplit(images, labels.astype(np.int32), tuple(map(str, range(count))))


def test_every_kind_of_layer_learns_and_the_network_stays_as_it_was():
    """Grids a third as wide as needed cut values off: the weights learn to live below."""
    net, how = every_kind(), preprocessing()
    weights = [conv.weight.copy() for layer in net.layers for conv in layer.convolutions]
    limits = largest_values(net, how, random_images(32))
    limits = [*([value / 3 for value in row] for row in limits[:-1]), limits[-1]]
    images = split_of(net, 600, 2), split_of(net, 400, 3)
    test = split_of(net, 500, 4)
    best, epochs = fine_tuned(net, limits, how, images, 6)
    again, _ = fine_tuned(net, limits, how, images, 6)

    def right(integers) -> float:
        return float((integers.logits(test.images).argmax(1) == test.labels).mean())

    assert epochs and right(best) > right(with_limits(net, how, limits)) + 0.02
    np.testing.assert_array_equal(best.logits(test.images), again.logits(test.images))
    kept = [conv.weight for layer in net.layers for conv in layer.convolutions]
    for array, other in zip(kept, weights, strict=True):
        np.testing.assert_array_equal(array, other)


def test_rounding_in_pytorch_is_that_of_the_integers():
    """The logits that are trained are those that the integers will give, but for rare roundings."""
    import torch

    from maam.torch.rounding import RoundedNet

    net, how = every_kind(), preprocessing()
    limits = largest_values(net, how, random_images(32))
    integers = with_limits(net, how, limits)
    images = random_images(50, seed=5)
    with torch.no_grad():
        found = RoundedNet(net, integers)(torch.from_numpy(how(images))).numpy()
        plain = RoundedNet(net, None)(torch.from_numpy(how(images))).numpy()
    expected = integers.values(images)
    step = 256 * integers.logit_scale
    assert np.median(np.abs(found - expected).max(1)) < 0.1 * step
    assert (np.abs(found - expected).max(1) <= step).mean() >= 0.8
    float32 = net.logits(how(images).transpose(0, 2, 3, 1))
    np.testing.assert_allclose(plain, float32, atol=1e-4)
