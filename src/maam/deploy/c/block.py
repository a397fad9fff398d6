"""A network as one block of constants, as ``maam_nn.h`` lays it out: head, table, weights."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from maam.core.errors import MaamError
from maam.data.preprocessing import Preprocessing
from maam.deploy.c.planner import Plan, plan_arena
from maam.deploy.int8 import Int8Convolution, Int8Layer, Int8Network
from maam.deploy.layers import Convolution, Layer, LayeredNetwork

FORMAT = 0x316E6E6D
KINDS = ("conv", "block", "pool", "sum", "mean")

# Fields of the records in C, all of 4 bytes, in their order.
MAP = ("at", "height", "width", "channels", "bytes", "zero")
CONV = (
    *("rows", "columns", "stride", "padding", "groups", "outputs", "relu", "zero"),
    *("weights_at", "bias_at", "multiplier_at", "shift_at", "residual_at"),
)
LAYER = ("kind", "residual", "backwards", "more", "more_at", "scratch_at", "multiplier", "shift")
HEAD = (
    *("format", "bytes", "precision", "height", "width", "channels", "classes", "layers"),
    *("layers_at", "pixels_at", "arena_bytes", "image_at", "logits_at", "map_layer"),
)  # and logit_scale, a float32
HEAD_BYTES = 4 * (len(HEAD) + 1)
LAYER_BYTES = 4 * (len(LAYER) + 2 * len(MAP) + 2 * len(CONV))
_INT32 = 2**31 - 1

Record = Mapping[str, int]


@dataclass(frozen=True)
class LayerRecord:
    """A ``maam_layer``; ``convs`` has two entries, of zeros where the layer has fewer."""

    name: str
    fields: Record
    source: Record
    out: Record
    convs: tuple[Record, Record]


@dataclass(frozen=True)
class Block:
    """The block, in parts.

    Attributes:
        head: the fields of ``maam_model`` but ``logit_scale``.
        logit_scale: what one unit of a logit stands for.
        layers: the table.
        weights: what follows it; its length is a multiple of 4.
    """

    head: Record
    logit_scale: float
    layers: tuple[LayerRecord, ...]
    weights: bytes

    @property
    def precision(self) -> str:
        """``int8`` or ``float32``."""
        return "int8" if self.head["precision"] else "float32"

    def to_bytes(self) -> bytes:
        """The whole block, as it lies in memory."""
        numbers = [self.head[name] for name in HEAD]
        parts = [struct.pack(f"<{len(numbers)}if", *numbers, self.logit_scale)]
        for layer in self.layers:
            row = [layer.fields[name] for name in LAYER]
            for record, names in (
                *((each, MAP) for each in (layer.source, layer.out)),
                *((each, CONV) for each in layer.convs),
            ):
                row += [record[name] for name in names]
            parts.append(struct.pack(f"<{len(row)}i", *row))
        return b"".join([*parts, self.weights])


def make_block(
    network: LayeredNetwork | Int8Network, preprocessing: Preprocessing | None = None
) -> Block:
    """The block of a network.

    Args:
        network: its last layer is a convolution to (1, 1, classes).
        preprocessing: of its images; an ``Int8Network`` has its own.

    Raises:
        MaamError: the network is of another kind, or too large for int32 sums or offsets.
    """
    last = network.layers[-1]
    if last.kind != "conv" or last.shape[:2] != (1, 1):
        raise MaamError(f"its last layer is no dense one ({last.name}): C can't compute it")
    return _Writer(network, preprocessing, plan_arena(network)).block()


class _Writer:
    """Collects the weights of a network, and notes where each array lies."""

    def __init__(
        self,
        network: LayeredNetwork | Int8Network,
        preprocessing: Preprocessing | None,
        plan: Plan,
    ) -> None:
        self.network, self.preprocessing, self.plan = network, preprocessing, plan
        self.weights = bytearray()
        self.start = HEAD_BYTES + LAYER_BYTES * len(network.layers)

    def block(self) -> Block:
        pixels_at = self.add(self.pixels())
        layers = tuple(self.layer(index) for index in range(len(self.network.layers)))
        # The kernels read rows of weights by words: up to 3 bytes beyond the last.
        self.weights += bytes(4)
        int8 = isinstance(self.network, Int8Network)
        size = self.start + len(self.weights)
        if max(size, self.plan.size) > _INT32:
            raise MaamError("the network is too large for C: its offsets would not fit 32 bits")
        height, width, channels = self.network.image
        head = {
            "format": FORMAT,
            "bytes": size,
            "precision": int(int8),
            "height": height,
            "width": width,
            "channels": channels,
            "classes": self.network.layers[-1].shape[2],
            "layers": len(layers),
            "layers_at": HEAD_BYTES,
            "pixels_at": pixels_at,
            "arena_bytes": self.plan.size,
            "image_at": self.plan.maps[0],
            "logits_at": self.plan.maps[-1],
            "map_layer": -1 if self.plan.kept is None else len(layers) - 2,
        }
        scale = self.network.logit_scale if isinstance(self.network, Int8Network) else 1.0
        return Block(head, scale, layers, bytes(self.weights))

    def pixels(self) -> np.ndarray:
        """What turns pixels into the first map."""
        if isinstance(self.network, Int8Network):
            return self.network.table
        assert self.preprocessing is not None
        mean, std = (
            np.asarray(each, np.float32)
            for each in (self.preprocessing.mean, self.preprocessing.std)
        )
        return np.stack([1 / (255 * std), mean / std])

    def add(self, array: np.ndarray) -> int:
        """Append an array; where it lies in the block."""
        place = self.start + len(self.weights)
        data = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes()
        self.weights += data + bytes(-len(data) % 4)
        return place

    def map(self, number: int) -> dict[str, int]:
        """The record of a map, numbered as in ``Layer.inputs``."""
        network = self.network
        shape = network.layers[number - 1].shape if number else network.image
        sizes = zip(("height", "width", "channels"), shape, strict=True)
        record = {"at": self.plan.maps[number], **dict(sizes), "bytes": 4, "zero": 0}
        if isinstance(network, Int8Network):
            record["bytes"] = 2 if number == len(network.layers) else 1
            record["zero"] = network.grids[number].zero
        return record

    def layer(self, index: int) -> LayerRecord:
        layer = self.network.layers[index]
        more = [self.map(number) for number in layer.inputs[1:]]
        rows = np.array([[each[name] for name in MAP] for each in more], np.int32)
        convs = [
            self.conv(layer, number, layer.kind == "block" and not number)
            for number in range(len(layer.convolutions))
        ]
        empty = dict.fromkeys(CONV, 0)
        fields = {
            "kind": KINDS.index(layer.kind),
            "residual": int(layer.residual),
            "backwards": int(self.plan.backwards[index]),
            "more": len(more),
            "more_at": self.add(rows) if more else 0,
            "scratch_at": self.plan.scratch[index],
            "multiplier": layer.multiplier if isinstance(layer, Int8Layer) else 0,
            "shift": layer.shift if isinstance(layer, Int8Layer) else 0,
        }
        first, second = [*convs, empty, empty][:2]
        return LayerRecord(
            layer.name, fields, self.map(layer.inputs[0]), self.map(index + 1), (first, second)
        )

    def conv(self, layer: Layer | Int8Layer, number: int, depthwise: bool) -> dict[str, int]:
        conv = layer.convolutions[number]
        outputs, rows, columns, _ = conv.weight.shape
        weight = conv.weight
        if depthwise:
            weight = weight[..., 0].transpose(1, 2, 0)  # (rows, columns, C)
        elif isinstance(conv, Convolution):
            weight = weight.reshape(conv.groups, outputs // conv.groups, -1).transpose(0, 2, 1)
        record = {
            "rows": rows,
            "columns": columns,
            "stride": conv.stride,
            "padding": conv.padding,
            "groups": conv.groups,
            "outputs": outputs,
            **dict.fromkeys(("relu", "zero", "multiplier_at", "shift_at", "residual_at"), 0),
            "weights_at": self.add(weight),
            "bias_at": self.add(conv.bias),
        }
        if isinstance(conv, Convolution):
            return {**record, "relu": int(conv.relu)}
        _check_sums(layer.name, conv)
        record["zero"] = conv.output.zero
        record["multiplier_at"] = self.add(conv.multiplier.astype(np.int32))
        record["shift_at"] = self.add(conv.shift.astype(np.uint8))
        if conv.residual is not None:
            record["residual_at"] = self.add(conv.residual.astype(np.int32))
        return record


def _check_sums(name: str, conv: Int8Convolution) -> None:
    """Check that no image can bring a sum beyond int32.

    Raises:
        MaamError: one might.
    """
    weights = np.abs(conv.weight.astype(np.int64)).reshape(len(conv.weight), -1).sum(1)
    largest = 128 * weights + np.abs(conv.bias.astype(np.int64))
    if conv.residual is not None:
        largest = largest + (255 * np.abs(conv.residual.astype(np.int64)) >> 16) + 1
    if largest.max(initial=0) > _INT32:
        raise MaamError(f"{name} does not fit int8: its sums may leave 32 bits, use float32")
