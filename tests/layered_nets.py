"""Networks with random weights, in PyTorch and layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np

import maam.torch
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.core.tensors import load_tensors, save_tensors
from maam.data.preprocessing import Preprocessing
from maam.deploy.layers import Convolution, Layer, LayeredNetwork
from maam.deploy.reading import layered

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def make_meta(model: str, size: tuple[int, int], channels: int = 3, classes: int = 10) -> RunMeta:
    how = Preprocessing(size, channels, MEAN[:channels], STD[:channels])
    return RunMeta(model, tuple(f"class {n}" for n in range(classes)), how.to_dict())


def random_array(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Values for a tensor of a network: norms with gammas of both signs and odd statistics."""
    if name.endswith("moving_variance"):
        array = rng.uniform(0.5, 2, shape)
    elif name.endswith("gamma"):
        array = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
    elif len(shape) < 2:
        array = rng.normal(0, 0.3, shape)
    else:
        array = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape)
    return array.astype(np.float32)


def random_net(meta: RunMeta, seed: int = 0) -> Any:
    """The network in PyTorch: norms with gammas of both signs and odd statistics."""
    channels, height, width = meta.image_shape
    net = maam.torch.create_model(meta.model, len(meta.classes), channels, (height, width))
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, array in maam.torch.get_weights(net).items():
        arrays[name] = random_array(name, array.shape, rng)
    maam.torch.set_weights(net, arrays, "random")
    return net.eval()


def random_layers(model: str, size: tuple[int, int] = (8, 6), seed: int = 0) -> LayeredNetwork:
    meta = make_meta(model, size)
    return layered(meta, maam.torch.get_weights(random_net(meta, seed)))


def preprocessing(size: tuple[int, int] = (8, 6)) -> Preprocessing:
    return Preprocessing(size, 3, MEAN, STD)


def random_images(count: int, size: tuple[int, int] = (8, 6), seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def every_kind(seed: int = 0, classes: int = 3) -> LayeredNetwork:
    """A small network for images of 8x6 with a layer of every kind."""
    rng = np.random.default_rng(seed)

    def conv(*shape: int, **window: Any) -> Convolution:
        weight = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
        return Convolution(weight, rng.normal(0, 0.3, shape[0]).astype(np.float32), **window)

    def block(channels: int, out: int, stride: int) -> tuple[Convolution, Convolution]:
        depthwise = conv(channels, 5, 5, 1, stride=stride, padding=2, groups=channels, relu=True)
        return depthwise, conv(out, 1, 1, channels)

    grouped = conv(8, 3, 3, 2, padding=1, groups=2, relu=True)
    return LayeredNetwork(
        (8, 6, 3),
        (
            Layer("stem", "conv", (0,), (8, 6, 4), (conv(4, 3, 3, 3, padding=1, relu=True),)),
            Layer("first", "block", (1,), (8, 6, 4), block(4, 4, 1), residual=True),
            Layer("second", "block", (2,), (4, 3, 4), block(4, 4, 2)),
            Layer("third", "block", (3,), (4, 3, 4), block(4, 4, 1), residual=True),
            Layer("left", "conv", (4,), (4, 3, 8), (grouped,)),
            Layer("right", "conv", (4,), (4, 3, 4), (conv(4, 1, 1, 4, relu=True),)),
            Layer("left.pool", "pool", (5,), (2, 1, 8)),
            Layer("right.pool", "pool", (6,), (2, 1, 4)),
            Layer("sum", "sum", (7, 8), (2, 1, 4)),
            Layer("hidden", "conv", (9,), (2, 1, 4), (conv(4, 1, 1, 4),)),
            Layer("mean", "mean", (10,), (1, 1, 4)),
            Layer("classifier", "conv", (11,), (1, 1, classes), (conv(classes, 1, 1, 4),)),
        ),
    )


def enlarge_a_channel(run: RunFolder, factor: float) -> None:
    """One channel between the layers of each block of nano becomes larger; the answers stay."""
    weights, metadata = load_tensors(run.best)
    for number in range(9):
        for name in ("gamma", "beta"):
            weights[f"blocks.{number}.layer.norm.{name}"][0] *= factor
        weights[f"blocks.{number}.reduce.conv.weight"][:, 0] /= factor
    save_tensors(run.best, weights, metadata)
