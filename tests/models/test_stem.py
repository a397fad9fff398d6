"""MAAMNet on photos: the stem brings every size to the same trunk."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from maam import MaamError
from maam.core.tensors import load_tensors
from maam.models.stem import adapt_stem, patch_side
from maam.models.weights import shipped_run

FRAMEWORKS = [pytest.param("mindspore", marks=pytest.mark.slow), "torch"]
SIZES = {48: 24, 64: 32, 96: 32, 128: 32, 160: 32, 224: 32}


def logits(backend, net, images):
    """Of float images (N, C, H, W)."""
    if backend.__name__.endswith("torch"):
        import torch

        with torch.inference_mode():
            return net.eval()(torch.from_numpy(images)).numpy()
    import mindspore as ms

    return net.set_train(False)(ms.Tensor(images)).asnumpy()


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("channels", [1, 3])
def test_shipped_weights_see_a_larger_image_as_its_patches_means(framework, channels, rng):
    backend = importlib.import_module(f"maam.{framework}")
    trained, _ = load_tensors(shipped_run("maamnet-nano").best)
    small = backend.create_model("maamnet-nano", 10, 3, (32, 32))
    backend.set_weights(small, {n: a.astype(np.float32) for n, a in trained.items()}, "shipped")
    large = backend.create_model("maamnet-nano", 10, channels, (96, 96))
    backend.set_weights(large, adapt_stem(backend.get_weights(large), trained), "adapted")
    images = rng.standard_normal((2, channels, 96, 96)).astype(np.float32)
    means = images.reshape(2, channels, 32, 3, 32, 3).mean((3, 5))
    expected = logits(backend, small, means if channels == 3 else np.repeat(means, 3, 1))
    np.testing.assert_allclose(logits(backend, large, images), expected, atol=2e-4)


def test_weights_go_from_one_size_to_another_and_back(rng):
    shape = (8, 3, 2, 2)
    trained = {
        "patch.weight": rng.standard_normal(shape).astype(np.float32),
        "stem.conv.weight": rng.standard_normal((4, 8, 3, 3)).astype(np.float32),
        "norm.gamma": np.ones(4, np.float32),
    }
    finer = {**trained, "patch.weight": np.zeros((8, 3, 6, 6), np.float32)}
    larger = adapt_stem(finer, trained)
    # An image whose pixels are repeated three times gives the same maps.
    repeated = trained["patch.weight"].repeat(3, 2).repeat(3, 3) / 9
    np.testing.assert_allclose(larger["patch.weight"], repeated, atol=1e-6)
    again = adapt_stem(trained, larger)
    np.testing.assert_allclose(again["patch.weight"], trained["patch.weight"], atol=1e-6)
    uneven = {**trained, "patch.weight": np.zeros((8, 3, 5, 5), np.float32)}
    sums = adapt_stem(uneven, trained)["patch.weight"].sum((2, 3))
    np.testing.assert_allclose(sums, trained["patch.weight"].sum((2, 3)), rtol=1e-5)
    small = {"stem.conv.weight": np.zeros((4, 3, 3, 3), np.float32)}
    shrunk = adapt_stem(small, trained)
    assert "patch.weight" not in shrunk
    assert shrunk["stem.conv.weight"].shape == (4, 3, 3, 3)
    image = rng.standard_normal(3)  # of one colour
    patches = trained["patch.weight"].sum((2, 3)) @ image
    np.testing.assert_allclose(
        np.einsum("ocyx,c->oyx", shrunk["stem.conv.weight"], image),
        np.einsum("opyx,p->oyx", trained["stem.conv.weight"], patches),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_trunk_costs_the_same_at_every_size(framework):
    backend = importlib.import_module(f"maam.{framework}")
    for size, side in SIZES.items():
        assert size // patch_side((size, size)) == side
        net = backend.create_model("maamnet-nano", 10, 3, (size, size))
        macs = backend.count_macs(net, (3, size, size))
        assert macs <= {96: 20e6}.get(size, 40e6)
    assert patch_side((32, 32)) == patch_side((8, 28)) == 1
    assert patch_side((33, 20)) == 2


def test_folded_is_unfolded_at_96_pixels(rng):
    import maam.torch

    net = maam.torch.create_model("maamnet-nano", 5, 3, (96, 96))
    images = rng.standard_normal((2, 3, 96, 96)).astype(np.float32)
    whole, folded = (logits(maam.torch, each, images) for each in (net, maam.torch.fuse(net)))
    np.testing.assert_allclose(folded, whole, atol=1e-4)


def test_too_few_pixels_for_the_patches_are_named():
    import maam.torch

    with pytest.raises(MaamError, match="images of 4x96 pixels are too small"):
        maam.torch.create_model("maamnet-nano", 5, 3, (4, 96))
