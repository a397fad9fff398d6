"""A bare network -> the file of a run: preprocessing before it, softmax after it, as ONNX nodes.

The nodes compute what ``data.files.conversion.fit`` and ``data.preprocessing.Preprocessing`` do.
Scaling follows Pillow's ``Resample.c``: an output pixel is the sum of input pixels under a cubic
(a = -0.5) about its place, which is as much wider as the image shrinks; first along rows, then
along columns (Pillow 13 begins with the columns of tall images: at most a level's difference), each
sum rounded to 0..255. The weights of one axis are a matrix here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from maam.core.environment import prepare_onnx
from maam.data.preprocessing import Preprocessing
from maam.deploy.onnx import INPUT, LOGITS, PROBABILITIES

OPSET, IR = 18, 8  # which ONNX Runtime 1.16 opens
CUBIC = -0.5
GREY = (19595, 38470, 7471)  # of R, G, B in Pillow's mode L, of 65536
WEIGHT_BITS = 22  # to which Pillow rounds weights

_PREFIX = "maam/"  # of our tensors' names


class _Nodes:
    """Nodes and constants, as they are added one after another."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(self, kind: str, *inputs: Any, name: str = "", **attributes: Any) -> str:
        """Add a node; the name of its output. An input that is no name is a constant."""
        from onnx import helper

        out = name or f"{self._prefix}{kind}{len(self.nodes)}"
        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        self.nodes.append(helper.make_node(kind, names, [out], **attributes))
        return out

    def constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"{self._prefix}constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def with_preprocessing(
    bare: bytes, preprocessing: Preprocessing, properties: Mapping[str, str]
) -> bytes:
    """The file of a run, not sealed yet.

    Args:
        bare: a bare network, of any opset up to 18.
        preprocessing: what it expects.
        properties: the file's metadata.
    """
    prepare_onnx()
    import onnx
    from onnx import TensorProto, helper

    model = _upgraded(onnx.load_from_string(bare))
    core = model.graph
    weights = {weight.name for weight in core.initializer}
    kept = [entry for entry in core.input if entry.name not in weights]
    (logits,) = core.output
    classes = logits.type.tensor_type.shape.dim[1].dim_value
    assert [entry.name for entry in kept] == [INPUT]
    normalised = f"{_PREFIX}normalised"
    for node in core.node:
        node.input[:] = [normalised if name == INPUT else name for name in node.input]
    add = _Nodes(_PREFIX)
    _prepare(add, preprocessing, normalised)
    last = helper.make_node("Softmax", [LOGITS], [PROBABILITIES], axis=-1)
    graph = helper.make_graph(
        [*add.nodes, *core.node, last],
        "maam",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", "H", "W", 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", classes])
            for name in (PROBABILITIES, LOGITS)
        ],
        [*core.initializer, *add.constants],
    )
    whole = helper.make_model(
        graph,
        producer_name="maam",
        ir_version=IR,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    helper.set_model_props(whole, dict(properties))
    onnx.checker.check_model(whole)
    return whole.SerializeToString()


def _prepare(add: _Nodes, how: Preprocessing, out: str) -> None:
    """From ``image`` uint8 (N, H, W, 3) to ``out`` float32 (N, C, h, w)."""
    from onnx import TensorProto, helper

    float32, size = np.float32, np.array(how.size, np.int64)
    pixels = add("Cast", add("Transpose", INPUT, perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    if how.channels == 1:  # all sums are whole numbers below 2**24, so float32 is exact
        parts = add("Mul", pixels, np.array(GREY, float32).reshape(1, 3, 1, 1))
        total = add("ReduceSum", parts, np.array([1], np.int64), keepdims=1)
        pixels = add("Floor", add("Mul", add("Add", total, float32(32768)), float32(2**-16)))
    shape = add("Shape", INPUT, start=1, end=3)
    same = add("Cast", add("Equal", shape, size), to=TensorProto.INT32)
    is_same = add("Cast", add("ReduceMin", same, keepdims=0), to=TensorProto.BOOL)
    branches = {}
    for name, build in (("then_branch", None), ("else_branch", _resize)):
        inner, end = _Nodes(f"{_PREFIX}{name}/"), f"{_PREFIX}{name}/end"
        if build:
            build(inner, pixels, shape, how.size, end)
        else:
            inner("Identity", pixels, name=end)
        value = helper.make_tensor_value_info(end, TensorProto.FLOAT, None)
        branches[name] = helper.make_graph(inner.nodes, name, [], [value])
        add.constants += inner.constants  # in a branch, older runtimes warn of some
    fitted = add("If", is_same, **branches)
    # As in ``Preprocessing``, to the bit.
    std, mean = np.asarray(how.std, float32), np.asarray(how.mean, float32)
    scale, shift = (1 / (255 * std)).astype(float32), (mean / std).astype(float32)
    scaled = add("Mul", fitted, scale.reshape(1, -1, 1, 1))
    add("Sub", scaled, shift.reshape(1, -1, 1, 1), name=out)


def _resize(add: _Nodes, pixels: str, shape: str, size: tuple[int, int], out: str) -> None:
    """``ImageOps.fit``: pixels (N, C, H, W), shape [H, W] -> ``out`` (N, C, *size)."""
    from onnx import TensorProto

    height, width = size
    sides = add("Cast", shape, to=TensorProto.DOUBLE)  # [H, W]
    # The largest box of the wanted shape: [min(H, W h / w), min(W, H w / h)]
    swapped = add("Gather", sides, np.array([1, 0], np.int64))
    other = add("Mul", swapped, np.array([height / width, width / height]))
    box = add("Min", sides, other)
    before = add("Mul", add("Sub", sides, box), np.float64(0.5))
    after = add("Add", before, box)
    # Pillow takes the box in float32.
    start, end = (
        add("Cast", add("Cast", each, to=TensorProto.FLOAT), to=TensorProto.DOUBLE)
        for each in (before, after)
    )
    matrices = []
    for axis, count in enumerate(size):
        side, low, high = (add("Gather", each, np.int64(axis)) for each in (sides, start, end))
        matrices.append(_weights(add, side, low, high, count))
    rows, columns = matrices
    along_rows = _rounded(add, add("MatMul", pixels, add("Transpose", columns, perm=[1, 0])))
    _rounded(add, add("MatMul", rows, along_rows), out)


def _weights(add: _Nodes, side: str, start: str, end: str, count: int) -> str:
    """The weights (count, side) of one axis, float32: how ``start`` to ``end`` become ``count``."""
    from onnx import TensorProto

    one = np.float64(1)
    scale = add("Div", add("Sub", end, start), np.float64(count))
    middles = (np.arange(count) + 0.5).reshape(-1, 1)
    centres = add("Add", start, add("Mul", scale, middles))  # (count, 1)
    positions = add("Range", np.float64(0.5), add("Add", side, np.float64(0.5)), one)  # (side,)
    reach = add("Max", scale, one)
    x = add("Abs", add("Div", add("Sub", positions, centres), reach))  # (count, side)
    near = _polynomial(add, x, (CUBIC + 2, -(CUBIC + 3), 0, 1))
    far = _polynomial(add, x, (CUBIC, -5 * CUBIC, 8 * CUBIC, -4 * CUBIC))
    zero = np.float64(0)
    outside = add("Where", add("Less", x, np.float64(2)), far, zero)
    cubic = add("Where", add("Less", x, one), near, outside)
    total = add("ReduceSum", cubic, np.array([1], np.int64), keepdims=1)
    parts = add("Mul", add("Div", cubic, total), np.float64(2**WEIGHT_BITS))
    whole = add("Floor", add("Add", parts, np.float64(0.5)))
    return add("Cast", add("Mul", whole, np.float64(2**-WEIGHT_BITS)), to=TensorProto.FLOAT)


def _polynomial(add: _Nodes, x: str, coefficients: tuple[float, ...]) -> str:
    """The highest power first."""
    total = add("Mul", x, np.float64(coefficients[0]))
    for coefficient in coefficients[1:-1]:
        total = add("Mul", add("Add", total, np.float64(coefficient)), x)
    return add("Add", total, np.float64(coefficients[-1]))


def _rounded(add: _Nodes, values: str, out: str = "") -> str:
    """To whole numbers from 0 to 255."""
    whole = add("Floor", add("Add", values, np.float32(0.5)))
    return add("Clip", whole, np.float32(0), np.float32(255), name=out)


def _upgraded(model: Any) -> Any:
    """The model in our opset."""
    from onnx import version_converter

    (version,) = {each.version for each in model.opset_import if each.domain in ("", "ai.onnx")}
    return model if version == OPSET else version_converter.convert_version(model, OPSET)
