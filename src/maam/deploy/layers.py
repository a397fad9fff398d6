"""A trained network as a list of layers on NumPy arrays: what int8, C and the page are made from.

Maps are channels-last here, (H, W, C), as the kernels in C read them. A dense layer is a
convolution whose window is the whole map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

Shape = tuple[int, int, int]
"""(H, W, C) of a map."""

Kind = Literal["conv", "block", "pool", "sum", "mean"]

_BATCH = 32


@dataclass(frozen=True)
class Convolution:
    """A convolution with bias, and ReLU if ``relu``; zeros around the map.

    Attributes:
        weight: float32 (O, rows, columns, I / groups).
        bias: float32 (O,).
        padding: rows and columns of zeros on each side.
    """

    weight: np.ndarray
    bias: np.ndarray
    stride: int = 1
    padding: int = 0
    groups: int = 1
    relu: bool = False


@dataclass(frozen=True)
class Layer:
    """A step from earlier maps to a new one.

    - ``conv``: one convolution.
    - ``block``: a depthwise convolution with ReLU, then a 1x1 convolution; its input is added to
      the outcome if ``residual``. It can be computed row by row, in place.
    - ``pool``: the largest of each 2x2 window.
    - ``sum``: all inputs, and in each all groups of ``shape[2]`` channels, added up.
    - ``mean``: over height and width, to a map of 1x1.

    Attributes:
        name: for people, such as ``blocks.3``.
        inputs: numbers of the maps that it reads: 0 is the image, n what layer n - 1 has made.
        shape: (H, W, C) of what it makes.
        convolutions: of ``conv`` one, of ``block`` two.
    """

    name: str
    kind: Kind
    inputs: tuple[int, ...]
    shape: Shape
    convolutions: tuple[Convolution, ...] = ()
    residual: bool = False


@dataclass(frozen=True)
class LayeredNetwork:
    """All layers of a network, in the order in which they are computed; the last gives logits.

    Attributes:
        image: (H, W, C) of the input: normalised pixels.
        layers: the last one's shape is (1, 1, classes).
    """

    image: Shape
    layers: tuple[Layer, ...]

    def shape_of(self, number: int) -> Shape:
        """(H, W, C) of a map, numbered as in ``Layer.inputs``."""
        return self.layers[number - 1].shape if number else self.image

    def forward(self, images: np.ndarray) -> Iterator[np.ndarray]:
        """Every map in turn, the images first, the logits last; slow, for comparison.

        Args:
            images: float32 (N, H, W, C), normalised.

        Yields:
            float32 (N, H, W, C) of each map.
        """
        maps = [np.asarray(images, np.float32)]
        yield maps[0]
        for layer in self.layers:
            maps.append(outcomes(layer, [maps[number] for number in layer.inputs])[-1])
            yield maps[-1]

    def logits(self, images: np.ndarray) -> np.ndarray:
        """float32 (N, K) of normalised images (N, H, W, C), a few at a time."""
        parts = [np.empty((0, self.layers[-1].shape[2]), np.float32)]
        for start in range(0, len(images), _BATCH):
            *_, logits = self.forward(images[start : start + _BATCH])
            parts.append(logits.reshape(len(logits), -1))
        return np.concatenate(parts)


class Window(Protocol):
    """What a convolution reads at a time, be it in floating point or in integers."""

    @property
    def weight(self) -> np.ndarray: ...
    @property
    def stride(self) -> int: ...
    @property
    def padding(self) -> int: ...
    @property
    def groups(self) -> int: ...


def shape_after(
    kind: Kind, shape: Shape, convolutions: Sequence[Window] = (), channels: int = 0
) -> Shape:
    """(H, W, C) of what a layer makes of a map.

    Args:
        kind: of the layer.
        shape: (H, W, C) of the map that it reads.
        convolutions: of the layer.
        channels: that ``sum`` makes.

    Raises:
        ValueError: a convolution reads other channels, or no pixel is left.
    """
    height, width, depth = shape
    if kind == "pool":
        height, width = height // 2, width // 2
    elif kind == "mean":
        height = width = 1
    elif kind == "sum":
        depth = channels
    for conv in convolutions:
        out, rows, columns, taken = conv.weight.shape
        if taken * conv.groups != depth or out % conv.groups:
            raise ValueError(
                f"a convolution of {conv.groups} groups of {taken} channels reads {depth} channels"
            )
        height = (height + 2 * conv.padding - rows) // conv.stride + 1
        width = (width + 2 * conv.padding - columns) // conv.stride + 1
        depth = out
    if min(height, width, depth) < 1:
        raise ValueError(f"no pixel of {shape} is left")
    return height, width, depth


def outcomes(layer: Layer, maps: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What a layer makes of its inputs (N, H, W, C), after each of its convolutions; its own last.

    Layers without a convolution give one map.
    """
    x = maps[0]
    if layer.kind == "pool":
        return [pool(x)]
    if layer.kind == "sum":
        return [np.sum([sum_groups(each, layer.shape[2]) for each in maps], 0)]
    if layer.kind == "mean":
        return [x.mean((1, 2), keepdims=True, dtype=np.float32)]
    made = []
    for conv in layer.convolutions:
        window = conv.stride, conv.padding, conv.groups
        total = convolve(made[-1] if made else x, conv.weight, *window) + conv.bias
        made.append(np.maximum(total, 0) if conv.relu else total)
    if layer.residual:
        made[-1] = x + made[-1]
    return made


def pool(x: np.ndarray) -> np.ndarray:
    """The largest of each 2x2 window; an odd last row or column is left out."""
    height, width = (side // 2 * 2 for side in x.shape[1:3])
    x = x[:, :height, :width]
    return x.reshape(len(x), height // 2, 2, width // 2, 2, -1).max((2, 4))


def sum_groups(x: np.ndarray, channels: int) -> np.ndarray:
    """All groups of ``channels`` channels of (N, H, W, groups * channels), added up."""
    return x.reshape(*x.shape[:3], -1, channels).sum(3, dtype=x.dtype)


def convolve(
    x: np.ndarray, weight: np.ndarray, stride: int, padding: int, groups: int, pad: int = 0
) -> np.ndarray:
    """Sums of products without bias, in the type of the arrays.

    Args:
        x: (N, H, W, C).
        weight: (O, rows, columns, C / groups).
        stride, padding, groups: as in ``Convolution``.
        pad: what stands around the map.
    """
    out, rows, columns, depth = weight.shape
    if padding:
        sides = (padding, padding)
        x = np.pad(x, ((0, 0), sides, sides, (0, 0)), constant_values=pad)
    height = (x.shape[1] - rows) // stride + 1
    width = (x.shape[2] - columns) // stride + 1
    if depth == 1 and out == groups:
        return _depthwise(x, weight, stride, (height, width))
    split = x.reshape(*x.shape[:3], groups, depth)
    windows = np.empty((groups, len(x), height, width, rows, columns, depth), x.dtype)
    for row, column in np.ndindex(rows, columns):
        part = split[:, row:, column:][:, ::stride, ::stride][:, :height, :width]
        windows[:, :, :, :, row, column] = part.transpose(3, 0, 1, 2, 4)
    matrices = weight.reshape(groups, out // groups, -1).transpose(0, 2, 1)
    parts = windows.reshape(groups, -1, matrices.shape[1]) @ matrices  # (groups, positions, O)
    return parts.transpose(1, 0, 2).reshape(len(x), height, width, out)


def _depthwise(x: np.ndarray, weight: np.ndarray, stride: int, size: tuple[int, int]) -> np.ndarray:
    """The sum of shifted maps (N, H, W, C), each times its weights, to (N, *size, C).

    A row of pixels is one long vector here, W times C, for NumPy is slow with short ones.
    """
    (height, width), channels = size, x.shape[3]
    # The columns 0, stride, 2 stride, ...; 1, stride + 1, ...: neighbours in what they add to.
    phases = [x[:, :, n::stride].reshape(*x.shape[:2], -1) for n in range(stride)]
    total = np.zeros((len(x), height, width * channels), x.dtype)
    product = np.empty_like(total)
    vectors = np.tile(weight[..., 0].transpose(1, 2, 0), width)  # (rows, columns, W * C)
    for row, column in np.ndindex(weight.shape[1:3]):
        first = column // stride * channels
        part = phases[column % stride][:, row::stride, first : first + width * channels]
        total += np.multiply(part[:, :height], vectors[row, column], out=product)
    return total.reshape(len(x), height, width, channels)
