"""What a network needs on a microcontroller: told before training as after the export."""

from __future__ import annotations

import re

import pytest
from layered_nets import make_meta, preprocessing, random_images, random_net

import maam.mindspore
import maam.torch
from maam.core.errors import MaamError
from maam.core.footprint import kib
from maam.deploy.c.block import make_block
from maam.deploy.c.folder import write_c
from maam.deploy.c.footprint import footprint
from maam.deploy.quantization import quantize_layers
from maam.deploy.reading import layered
from maam.models.weights import shipped_run


@pytest.mark.parametrize("model", ["maamnet-nano", "maamnet-tiny"])
def test_the_estimate_is_what_the_exported_folder_needs(tmp_path, model):
    run = shipped_run(model)
    meta = run.read_meta()
    told = maam.torch.footprint(maam.torch.create_model(*meta.model_shape), meta)
    figures = write_c(run, tmp_path / "c", "int8")
    assert figures["Flash"].startswith(f"{kib(told.flash)}, of it ")
    assert figures["RAM"].startswith(f"{kib(told.ram)}, of it ")
    written = (tmp_path / "c" / "model.c").read_text()
    constants = int(re.findall(r"sizeof block == (\d+)", written)[0])
    arena = int(re.findall(r"MODEL_ARENA_BYTES (\d+)", (tmp_path / "c" / "model.h").read_text())[0])
    assert constants < told.flash < constants + 16 * 1024
    assert arena < told.ram < arena + 1024


@pytest.mark.parametrize(
    ("model", "size", "channels", "classes"),
    [
        ("maamnet-nano", (70, 70), 3, 2),
        ("maamnet-small", (32, 32), 1, 100),
        ("maam", (8, 8), 3, 10),
        ("maam-k135", (8, 10), 1, 3),
    ],
)
def test_the_estimate_goes_by_shapes_alone(model, size, channels, classes):
    meta = make_meta(model, size, channels, classes)
    net = random_net(meta)
    fresh = maam.torch.create_model(*meta.model_shape)
    how = preprocessing(size) if channels == 3 else None
    told = maam.torch.footprint(fresh, meta)
    assert (
        told == maam.torch.footprint(net, meta) == maam.torch.footprint(maam.torch.fuse(net), meta)
    )
    if how:
        network = layered(meta, maam.torch.get_weights(net))
        integers = quantize_layers(network, how, random_images(2, size))
        assert told == footprint(make_block(integers), meta.classes)


def test_both_frameworks_tell_the_same():
    meta = make_meta("maamnet-nano", (32, 32))
    told = [
        each.footprint(each.create_model(*meta.model_shape), meta)
        for each in (maam.mindspore, maam.torch)
    ]
    assert told[0] == told[1]


def test_long_names_of_classes_take_flash():
    meta = make_meta("maamnet-nano", (32, 32), classes=2)
    block = make_block(layered(meta, maam.torch.get_weights(random_net(meta))), preprocessing())
    short, long = (footprint(block, names) for names in (("a", "b"), ("a", "b" * 1000)))
    assert long.flash - short.flash == 1000 and long.ram == short.ram


def test_other_models_are_refused():
    meta = make_meta("resnet8", (32, 32))
    with pytest.raises(MaamError, match="the layers of resnet8 are not known one by one"):
        maam.torch.footprint(maam.torch.create_model(*meta.model_shape), meta)
