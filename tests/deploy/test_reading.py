"""The layers of a run's weights compute what the framework's folded network computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from layered_nets import make_meta, random_net

import maam
import maam.torch
from maam import MaamError
from maam.core.run_folder import RunFolder
from maam.core.tensors import save_tensors
from maam.deploy.layers import LayeredNetwork
from maam.deploy.reading import layered, read_layers
from maam.models.variants import MAAM_VARIANTS, MAAMNET_VARIANTS

UNKNOWN = ("maam-multires", "maam-concat", "maam-squeeze")
SHAPES = {
    **{name: (3, (8, 8)) for name in MAAM_VARIANTS if name not in UNKNOWN},
    **dict.fromkeys(MAAMNET_VARIANTS, (3, (12, 12))),
}


def compare(net: LayeredNetwork, folded, images: np.ndarray) -> None:
    with torch.inference_mode():
        expected = folded(torch.from_numpy(images)).numpy()
    found = net.logits(images.transpose(0, 2, 3, 1))
    assert np.abs(found - expected).max() <= 1e-4 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("name", SHAPES)
def test_every_known_model(name, rng):
    channels, size = SHAPES[name]
    meta = make_meta(name, size, channels)
    net = random_net(meta)
    folded = maam.torch.fuse(net)
    images = rng.normal(size=(3, channels, *size)).astype(np.float32)
    for weights in (maam.torch.get_weights(net), maam.torch.get_weights(folded)):
        compare(layered(meta, weights), folded, images)


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [
        ("maamnet-nano", 1, (9, 14)),
        ("maamnet-nano", 3, (40, 36)),
        ("maam", 1, (9, 14)),
    ],
)
def test_odd_sizes_patches_and_grey_images(name, channels, size, rng):
    meta = make_meta(name, size, channels, classes=3)
    net = random_net(meta)
    images = rng.normal(size=(2, channels, *size)).astype(np.float32)
    compare(layered(meta, maam.torch.get_weights(net)), maam.torch.fuse(net), images)


@pytest.mark.parametrize("name", [*UNKNOWN, "cnn", "resnet8", "TinyNet (own)"])
def test_other_models_are_refused(name):
    with pytest.raises(MaamError, match="are not known one by one") as error:
        layered(replace(make_meta("maam", (8, 8)), model=name), {})
    assert name in str(error.value)


def test_wrong_weights_are_named():
    meta = make_meta("maamnet-nano", (12, 12))
    weights = maam.torch.get_weights(random_net(meta))
    with pytest.raises(MaamError, match="not those of maamnet-nano: they are not of 7 classes"):
        layered(replace(meta, classes=meta.classes[:7]), weights)
    with pytest.raises(MaamError, match="not those of maamnet-tiny: "):
        layered(replace(meta, model="maamnet-tiny"), weights)
    with pytest.raises(MaamError, match=r"'conv.weight' is missing"):
        layered(meta, {k: v for k, v in weights.items() if k != "stem.conv.weight"})
    weights["classifier.bias"][0] = np.nan
    with pytest.raises(MaamError, match="not finite"):
        layered(meta, weights)


def test_a_run_folder_is_read(tmp_path, rng):
    meta = make_meta("maamnet-nano", (12, 12))
    net = random_net(meta)
    run = RunFolder(tmp_path)
    run.write_meta(meta)
    with pytest.raises(MaamError, match=r"best\.safetensors does not exist"):
        read_layers(run)
    save_tensors(run.best, maam.torch.get_weights(net), {})
    images = rng.normal(size=(2, 3, 12, 12)).astype(np.float32)
    compare(read_layers(run), net, images)
