"""The preprocessing inside an ONNX file gives the pixels that Pillow and maam give."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from hostile import picture
from onnx import TensorProto, helper
from PIL import Image

from maam.core.run_meta import RunMeta
from maam.data.files.conversion import fit
from maam.data.preprocessing import Preprocessing
from maam.deploy.onnx import Network
from maam.deploy.onnx_meta import write_properties
from maam.deploy.preprocessing_graph import IR, OPSET, with_preprocessing
from maam.deploy.seal import seal

COLOUR = Preprocessing((24, 32), 3, (0.5, 0.4, 0.3), (0.25, 0.2, 0.3))
GREY = Preprocessing((17, 17), 1, (0.1,), (0.7,))
SIZES = [(24, 32), (48, 64), (37, 100), (25, 33), (7, 5), (1, 1), (211, 333), (24, 400)]


def looking_glass(how: Preprocessing) -> bytes:
    """A whole file whose logits are the numbers that its network sees."""
    count = how.channels * how.size[0] * how.size[1]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["image"], ["logits"])],
        "g",
        [info("image", TensorProto.FLOAT, ["N", how.channels, *how.size])],
        [info("logits", TensorProto.FLOAT, ["N", count])],
    )
    opsets = [helper.make_opsetid("", 11)]
    bare = helper.make_model(graph, opset_imports=opsets, ir_version=6).SerializeToString()
    shape = {**how.to_dict(), "size": list(how.size)}
    meta = RunMeta("cnn", tuple(map(str, range(count))), json.loads(json.dumps(shape)), metrics={})
    return seal(with_preprocessing(bare, how, write_properties(meta, {})))


def seen(network: Network, images: np.ndarray, how: Preprocessing) -> np.ndarray:
    return network(images).reshape(len(images), how.channels, *how.size)


def as_pixels(numbers: np.ndarray, how: Preprocessing) -> np.ndarray:
    std, mean = np.reshape(how.std, (1, -1, 1, 1)), np.reshape(how.mean, (1, -1, 1, 1))
    return np.rint((numbers * std + mean) * 255).transpose(0, 2, 3, 1)


@pytest.mark.parametrize("how", [COLOUR, GREY], ids=["colour", "grey"])
def test_any_size_is_fitted_as_pillow_does(how, rng):
    network = Network(looking_glass(how))
    levels, wrong = 0, 0
    for height, width in SIZES:
        pixels = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        wanted = np.stack([fit(Image.fromarray(each), how.size, how.channels) for each in pixels])
        found = as_pixels(seen(network, pixels, how), how)
        difference = np.abs(found - wanted)
        assert difference.max() <= 1, (height, width)
        levels, wrong = levels + difference.size, wrong + int((difference > 0).sum())
    assert wrong <= 1e-3 * levels


@pytest.mark.parametrize("how", [COLOUR, GREY], ids=["colour", "grey"])
def test_an_image_of_the_networks_size_is_the_same_to_the_bit(how, rng):
    pixels = rng.integers(0, 256, (3, *how.size, 3), dtype=np.uint8)
    fitted = np.stack([fit(Image.fromarray(each), how.size, how.channels) for each in pixels])
    found = seen(Network(looking_glass(how)), pixels, how)
    np.testing.assert_array_equal(found, how(fitted))


def test_tall_images_whose_columns_some_versions_of_pillow_take_first():
    photo = picture(60, 200)
    found = seen(Network(looking_glass(COLOUR)), np.asarray(photo)[None], COLOUR)
    difference = np.abs(as_pixels(found, COLOUR)[0] - fit(photo, COLOUR.size, 3))
    assert difference.max() <= 1


def test_older_runtimes_open_it():
    model = onnx.load_from_string(looking_glass(COLOUR))
    assert (model.ir_version, [each.version for each in model.opset_import]) == (IR, [OPSET])
    assert IR <= 9 and OPSET <= 19
    onnx.checker.check_model(model, full_check=True)
