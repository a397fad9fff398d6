"""int8.safetensors: what is written is read, and what was not written so is refused in a line."""

from __future__ import annotations

import copy
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layered_nets import every_kind, preprocessing, random_images

from maam import MaamError
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors, save_tensors
from maam.deploy.int8 import Int8Network
from maam.deploy.int8_file import load_int8, read_int8, save_int8
from maam.deploy.quantization import quantize_layers


@pytest.fixture(scope="module")
def network() -> Int8Network:
    return quantize_layers(every_kind(), preprocessing(), random_images(8))


def test_what_is_written_is_read(network, tmp_path):
    path = tmp_path / "int8.safetensors"
    save_int8(path, network)
    found = load_int8(path)
    for name in ("image", "grids", "logit_scale"):
        assert getattr(found, name) == getattr(network, name)
    np.testing.assert_array_equal(found.table, network.table)
    for layer, other in zip(found.layers, network.layers, strict=True):
        for field in fields(layer):
            if field.name != "convolutions":
                assert getattr(layer, field.name) == getattr(other, field.name), field.name
        for conv, like in zip(layer.convolutions, other.convolutions, strict=True):
            for field in fields(conv):
                value, wanted = getattr(conv, field.name), getattr(like, field.name)
                if isinstance(wanted, np.ndarray):
                    assert value.dtype == wanted.dtype
                    np.testing.assert_array_equal(value, wanted)
                else:
                    assert value == wanted
    images = random_images(5, seed=3)
    np.testing.assert_array_equal(found.logits(images), network.logits(images))


def test_the_file_is_that_of_the_weights_beside_it(network, tmp_path):
    run = RunFolder(tmp_path)
    with pytest.raises(MaamError, match=r"int8\.safetensors is missing: .* `maam quantize"):
        read_int8(run)
    save_tensors(run.best, {"a": np.ones(3)}, {})
    save_int8(run.int8, network, run.best)
    assert read_int8(run).logit_scale == network.logit_scale
    save_tensors(run.best, {"a": np.zeros(3)}, {})
    with pytest.raises(MaamError, match=r"other weights than best\.safetensors holds"):
        read_int8(run)
    run.best.unlink()  # a copy of the run for a device
    assert read_int8(run).logit_scale == network.logit_scale


def refused(path: Path, tensors: dict[str, Any], metadata: dict[str, Any]) -> str:
    save_tensors(path, tensors, metadata)
    with pytest.raises(MaamError) as error:
        load_int8(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value)


def change(path: str, value: Any):
    """Set a value of the structure, such as ``layers.1.kind``."""

    def apply(tensors: dict[str, Any], structure: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = structure
        for part in parents:
            place = place[int(part) if part.isdecimal() else part]
        if value is None:
            del place[last]
        else:
            place[last] = value

    return apply


def array(name: str, value: Any):
    def apply(tensors: dict[str, Any], structure: dict[str, Any]) -> None:
        tensors[name] = value(tensors[name])

    return apply


@pytest.mark.parametrize(
    ("apply", "says"),
    [
        (change("image", [8, 6]), "int8.image"),
        (change("image", [8, 6, 4]), "table has the shape"),
        (change("image", [8, 0, 3]), "int8.image"),
        (change("layers", []), "int8.layers"),
        (change("layers.0.kind", "lstm"), "int8.layers.0.kind"),
        (change("layers.0.kind", "block"), "stem is no block"),
        (change("layers.2.inputs", [3]), "second reads a map that is made later"),
        (change("layers.2.inputs", [1, 2]), "second is no block"),
        (change("layers.1.residual", False), "unknown 1.1.residual"),
        (change("layers.2.residual", True), "lacks 2.1.residual"),
        (change("layers.3.shape", [4, 3, 5]), "third makes"),
        (change("layers.8.multiplier", 0), "sum has no multiplier"),
        (change("layers.8.shift", 63), "int8.layers.8.shift"),
        (change("layers.10.shape", [1, 2, 4]), "mean makes"),
        (change("layers.0.grid.scale", 0.0), "int8.layers.0.grid.scale"),
        (change("layers.0.convolutions.0.stride", 0), "int8.layers.0.convolutions.0.stride"),
        (change("layers.0.convolutions.0.stride", 2), "stem makes"),
        (change("layers.0.convolutions.0.groups", 3), "stem"),
        (change("layers.0.convolutions.0.shape", [4, 3, 3, 2]), "0.0.weight has the shape"),
        (change("layers.0.convolutions.0.more", 1), "Extra inputs"),
        (change("grid", None), "int8.grid: Field required"),
        (array("0.0.bias", lambda a: a.astype(np.int64)), "0.0.bias is int64, not int32"),
        (array("0.0.shift", lambda a: 0 * a), "0.0.shift is not from 1 to 62"),
        (array("0.0.multiplier", lambda a: a // 4), "0.0.multiplier is not from"),
        (array("0.0.weight_scale", lambda a: a * np.float32("nan")), "not finite"),
    ],
)
def test_other_files_are_refused(network, tmp_path, apply, says):
    path = tmp_path / "int8.safetensors"
    save_int8(path, network)
    tensors, metadata = load_tensors(path)
    metadata = copy.deepcopy(metadata)
    apply(tensors, metadata["int8"])
    assert says in refused(path, tensors, metadata)


def test_the_last_layer_makes_logits(network, tmp_path):
    path = tmp_path / "int8.safetensors"
    save_int8(path, network)
    tensors, metadata = load_tensors(path)
    del metadata["int8"]["layers"][-1]
    tensors = {name: each for name, each in tensors.items() if not name.startswith("11.")}
    assert "its last layer makes no logits" in refused(path, tensors, metadata)


def test_weights_in_floating_point_and_damage_are_refused(network, tmp_path):
    path = tmp_path / "int8.safetensors"
    assert "no network in integers" in refused(path, {"a": np.ones(3)}, {"format": 2})
    assert "no network in integers" in refused(path, {"a": np.ones(3)}, {"seed": 1})
    save_int8(path, network)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1]), b"", b"PK"):
        path.write_bytes(content)
        with pytest.raises(MaamError, match="damaged"):
            load_int8(path)
