"""A network in integers as ONNX: float operators between QuantizeLinear and DequantizeLinear.

Runtimes put their own integer operators in their place where they have some. It is a bare network:
``int8_onnx`` makes a file of a run of it. A block adds its input before its outcome is rounded, as
in ``int8``, not after; no ReLU is left, for it is the lower end of a grid; the logits are not
rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from maam.core.environment import prepare_onnx
from maam.deploy.int8 import Grid, Int8Convolution, Int8Layer, Int8Network
from maam.deploy.onnx import INPUT, LOGITS
from maam.deploy.preprocessing_graph import IR, OPSET


def qdq_model(network: Int8Network) -> bytes:
    """The bare ONNX file of a network in integers: ``image`` float32 (N, C, H, W), normalised, to
    ``logits`` float32 (N, K).
    """
    prepare_onnx()
    from onnx import TensorProto, checker, helper, numpy_helper

    graph = _Graph()
    maps = [graph.on_grid(INPUT, INPUT, network.grids[0])]
    for layer in network.layers:
        inputs = [maps[number] for number in layer.inputs]
        made = graph.layer(layer, inputs)
        if layer is not network.layers[-1]:
            made = graph.on_grid(layer.name, made, layer.grid)
        maps.append(made)
    graph.node("Flatten", LOGITS, maps[-1], axis=1)
    height, width, channels = network.image
    classes = network.layers[-1].shape[2]
    shapes = {INPUT: ["N", channels, height, width], LOGITS: ["N", classes]}
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name])]
        for name in (INPUT, LOGITS)
    )
    nodes = [
        helper.make_node(kind, inputs_, [name], name, **attributes)
        for kind, name, inputs_, attributes in graph.nodes
    ]
    arrays = [numpy_helper.from_array(array, name) for name, array in graph.arrays.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "maam-int8", inputs, outputs, arrays),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="maam",
    )
    checker.check_model(model, full_check=True)
    return model.SerializeToString()


@dataclass
class _Graph:
    """Nodes, as kind, name of node and outcome, inputs and attributes; and constant arrays."""

    nodes: list[tuple[str, str, list[str], dict[str, Any]]] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def node(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append((kind, name, list(inputs), attributes))
        return name

    def array(self, name: str, values: Any, kind: type) -> str:
        self.arrays[name] = np.asarray(values, kind, order="C")
        return name

    def on_grid(self, name: str, x: str, grid: Grid) -> str:
        """``x`` rounded to a grid."""
        scale = self.array(f"{name}.scale", grid.scale, np.float32)
        zero = self.array(f"{name}.zero", grid.zero, np.int8)
        numbers = self.node("QuantizeLinear", f"{name}.int8", x, scale, zero)
        return self.node("DequantizeLinear", f"{name}.value", numbers, scale, zero)

    def layer(self, layer: Int8Layer, inputs: list[str]) -> str:
        """What a layer makes, before it is rounded to a grid."""
        name, x = layer.name, inputs[0]
        if layer.kind == "pool":
            return self.node("MaxPool", name, x, kernel_shape=[2, 2], strides=[2, 2])
        if layer.kind == "mean":
            return self.node("GlobalAveragePool", name, x)
        if layer.kind == "sum":
            return self.sum(layer, inputs)
        made = x
        for index, conv in enumerate(layer.convolutions):
            if index:
                made = self.on_grid(f"{name}.between", made, conv.input)
            made = self.convolution(f"{name}.{index}", made, conv)
        return self.node("Add", f"{name}.sum", x, made) if layer.residual else made

    def sum(self, layer: Int8Layer, inputs: list[str]) -> str:
        """All groups of channels of all inputs, added up."""
        height, width, channels = layer.shape
        sides = 0, -1, channels, height, width
        shape = self.array(f"{layer.name}.shape", sides, np.int64)
        axes = self.array(f"{layer.name}.axes", [1], np.int64)
        sums = []
        for index, x in enumerate(inputs):
            groups = self.node("Reshape", f"{layer.name}.groups.{index}", x, shape)
            sums.append(
                self.node("ReduceSum", f"{layer.name}.sum.{index}", groups, axes, keepdims=0)
            )
        return self.node("Sum", layer.name, *sums)

    def convolution(self, name: str, x: str, conv: Int8Convolution) -> str:
        weight = self.dequantized(
            f"{name}.weight", conv.weight.transpose(0, 3, 1, 2), conv.weight_scale
        )
        sums = conv.weight.reshape(len(conv.weight), -1).sum(1, dtype=np.int64)
        bias = self.dequantized(
            f"{name}.bias",
            (conv.bias + conv.input.zero * sums).astype(np.int32),  # without the zero
            conv.input.scale * conv.weight_scale.astype(np.float64),
        )
        window = {
            "kernel_shape": list(conv.weight.shape[1:3]),
            "strides": [conv.stride] * 2,
            "pads": [conv.padding] * 4,
            "group": conv.groups,
        }
        return self.node("Conv", name, x, weight, bias, **window)

    def dequantized(self, name: str, numbers: np.ndarray, scale: np.ndarray) -> str:
        """Constants with a scale for each output channel."""
        kind = numbers.dtype.type
        inputs = (
            self.array(f"{name}.int", numbers, kind),
            self.array(f"{name}.scale", scale, np.float32),
            self.array(f"{name}.zero", np.zeros(len(scale)), kind),
        )
        return self.node("DequantizeLinear", name, *inputs, axis=0)
