"""ONNX files that no one should open without a look: damaged, of other tools, and made to harm."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from maam.deploy.onnx_meta import META
from maam.deploy.seal import seal

Change = Callable[[Any], object]


def hostile_files(good: bytes) -> dict[str, bytes]:
    """Name -> content, made of a good file of a run of digits (8 x 8, grey, 10 classes)."""
    files = dict(_no_files_of_ours(good))
    for name, change in {**_weights(), **_operators(), **_shapes(), **_metadata()}.items():
        model = onnx.load_from_string(good)
        _drop_checksum(model)
        change(model)
        files[f"{name}.onnx"] = seal(model.SerializeToString())
    return files


def _drop_checksum(model: Any) -> None:
    kept = [entry for entry in model.metadata_props if entry.key != "maam.sha256"]
    pairs = {entry.key: entry.value for entry in kept}
    del model.metadata_props[:]
    helper.set_model_props(model, pairs)


def _no_files_of_ours(good: bytes) -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(0)
    yield "empty.onnx", b""
    yield "text.onnx", b"this is no network\n" * 100
    yield "zip.onnx", b"PK\x03\x04" + bytes(500)
    yield "png.onnx", b"\x89PNG\r\n\x1a\n" + bytes(500)
    yield "pickle.onnx", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94."
    yield "zeros.onnx", bytes(10_000)
    yield "noise.onnx", rng.bytes(10_000)
    yield "endless-number.onnx", b"\xff" * 10_000
    yield "half.onnx", good[: len(good) // 2]
    yield "no-checksum.onnx", good[:-145]
    yield "only-checksum.onnx", good[-145:]
    yield "twice.onnx", good + good
    yield "one-bit.onnx", good[:1000] + bytes([good[1000] ^ 4]) + good[1001:]
    yield "other-names.onnx", _other_tool("input", "output")
    yield "bare.onnx", _other_tool("image", "logits")
    yield "trees.onnx", _other_tool("image", "logits", "ai.onnx.ml")
    yield "newer-opset.onnx", _other_tool("image", "logits", opset=99)


def _other_tool(source: str, target: str, domain: str = "", opset: int = 18) -> bytes:
    info = helper.make_tensor_value_info
    nodes = [helper.make_node("Identity", [source], [target], domain=domain)]
    pixels = [info(source, TensorProto.FLOAT, ["N", 1, 8, 8])]
    graph = helper.make_graph(nodes, "g", pixels, [info(target, TensorProto.FLOAT, ["N", 10])])
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(domain, 1)] if domain else []
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def _external(tensor: Any, location: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location


def _weights() -> dict[str, Change]:
    def first(model: Any) -> Any:
        return next(each for each in model.graph.initializer if len(each.dims) > 1)

    def constant(model: Any) -> None:
        tensor = numpy_helper.from_array(np.zeros(4, np.float32), "t")
        _external(tensor, "../secret")
        model.graph.node.append(helper.make_node("Constant", [], ["secret"], value=tensor))

    def in_branch(model: Any) -> None:
        (node,) = (each for each in model.graph.node if each.op_type == "If")
        _external(node.attribute[0].g.initializer.add(name="x", data_type=1, dims=[4]), "/dev/zero")

    def sparse(model: Any) -> None:
        model.graph.sparse_initializer.add().dims.extend([10**6, 10**6])

    def sized(*dims: int) -> Change:
        def change(model: Any) -> None:
            tensor = first(model)
            del tensor.dims[:]
            tensor.dims.extend(dims)

        return change

    return {
        "external": lambda model: _external(first(model), "weights.bin"),
        "external-absolute": lambda model: _external(first(model), "/etc/passwd"),
        "external-above": lambda model: _external(first(model), "../../../etc/passwd"),
        "external-constant": constant,
        "external-in-branch": in_branch,
        "sparse": sparse,
        "giant": sized(2**40),
        "giant-square": sized(10**6, 10**6),
        "negative": sized(-1, 4),
        "overflow": sized(2**32, 2**32, 2**32),
        "too-short": sized(100, 100),
    }


def _operators() -> dict[str, Change]:
    def node(kind: str, *inputs: Any, **options: Any) -> Change:
        def change(model: Any) -> None:
            names = []
            for number, value in enumerate(inputs):
                if isinstance(value, str):
                    names.append(value)
                    continue
                names.append(f"hostile{number}")
                model.graph.initializer.append(numpy_helper.from_array(value, names[-1]))
            made = helper.make_node(kind, names, ["hostile"], **options)
            model.graph.node.insert(0, made)
            if domain := options.get("domain"):
                model.opset_import.append(helper.make_opsetid(domain, 1))

        return change

    def nested(model: Any) -> None:
        graph = helper.make_graph([], "g", [], [])
        for _ in range(60):
            branch = helper.make_node("If", ["c"], ["x"], then_branch=graph, else_branch=graph)
            graph = helper.make_graph([branch], "g", [], [])
            if graph.ByteSize() > 10**6:
                break
        model.graph.node.extend(graph.node)

    def function(model: Any) -> None:
        model.functions.add(name="f", domain="local")

    size = np.array([10**6, 10**6], np.int64)
    body = helper.make_graph([], "body", [], [])
    return {
        "unknown-operator": node("Frobnicate", "image"),
        "other-domain": node("Gelu", "image", domain="com.microsoft"),
        "custom-domain": node("Gelu", "image", domain="evil.example"),
        "loop": node("Loop", np.array(2**62, np.int64), "", body=body),
        "scan": node("Scan", "image", body=body, num_scan_inputs=1),
        "random": node("RandomNormal", shape=[4]),
        "nested": nested,
        "function": function,
        "giant-constant": node("ConstantOfShape", size),
        "giant-expand": node("Expand", np.zeros(1, np.float32), size),
        "giant-tile": node("Tile", np.zeros((1, 1), np.float32), size),
        "giant-range": node(
            "Range", np.array(0, np.int64), np.array(2**40, np.int64), np.array(1, np.int64)
        ),
        "giant-pad": node(
            "Pad", np.zeros((1, 1), np.float32), np.array([0, 0, 2**30, 2**30], np.int64)
        ),
        "cycle": node("Identity", "hostile"),
        "no-input": node("Identity", "nowhere"),
    }


def _shapes() -> dict[str, Change]:
    def input_of(kind: int, *dims: Any) -> Change:
        def change(model: Any) -> None:
            value = helper.make_tensor_value_info("image", kind, list(dims))
            model.graph.input[0].CopyFrom(value)

        return change

    def swap(model: Any) -> None:
        first, second = list(model.graph.output)
        del model.graph.output[:]
        model.graph.output.extend([second, first])

    def classifier(model: Any) -> None:
        for tensor in model.graph.initializer:
            if tensor.dims and tensor.dims[0] == 10 and len(tensor.dims) == 1:
                tensor.CopyFrom(numpy_helper.from_array(np.zeros(9, np.float32), tensor.name))

    return {
        "float-input": input_of(TensorProto.FLOAT, "N", "H", "W", 3),
        "giant-input": input_of(TensorProto.UINT8, 1, 10**6, 10**6, 3),
        "long-input": input_of(TensorProto.UINT8, 1, 10**7, 1, 3),
        "one-image": input_of(TensorProto.UINT8, 1, "H", "W", 3),
        "four-channels": input_of(TensorProto.UINT8, "N", "H", "W", 4),
        "outputs-swapped": swap,
        "bias-too-short": classifier,
        "newer-form": lambda model: setattr(model, "ir_version", 99),
    }


def _metadata() -> dict[str, Change]:
    def text(value: str | None) -> Change:
        def change(model: Any) -> None:
            pairs = {entry.key: entry.value for entry in model.metadata_props}
            pairs.pop(META)
            del model.metadata_props[:]
            helper.set_model_props(model, pairs if value is None else {**pairs, META: value})

        return change

    def with_values(**changes: Any) -> Change:
        def change(model: Any) -> None:
            (entry,) = (entry for entry in model.metadata_props if entry.key == META)
            values = json.loads(entry.value)
            for key, value in changes.items():
                (values["preprocessing"] if key in values["preprocessing"] else values)[key] = value
            text(json.dumps(values))(model)

        return change

    return {
        "no-metadata": text(None),
        "metadata-no-json": text("{'format': 1"),
        "metadata-list": text("[1]"),
        "metadata-deep": text("[" * 100_000),
        "metadata-format": with_values(format=99),
        "metadata-no-classes": with_values(classes=None),
        "metadata-nine-classes": with_values(classes=list("abcdefghi")),
        "metadata-numbers": with_values(classes=list(range(10))),
        "metadata-giant-size": with_values(size=[10**6, 10**6]),
        "metadata-zero-size": with_values(size=[0, 8]),
        "metadata-two-channels": with_values(channels=2),
        "metadata-std": with_values(std=[0.0]),
        "metadata-mean": with_values(mean=[float("nan")]),
    }
