"""A run folder whose network is known by heart: it names the strongest colour of an image."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = ["red", "green", "blue"]
GAIN = 10.0
IDENTITY = GAIN * np.eye(3)
META: dict[str, Any] = {
    "format": 1,
    "config": {},
    "model": "maam",
    "classes": CLASSES,
    "preprocessing": {
        "size": [8, 6],
        "channels": 3,
        "mean": [0.5, 0.4, 0.3],
        "std": [0.5, 0.25, 0.2],
    },
    "metrics": {},
}


def make_meta(**changes: object) -> dict[str, Any]:
    """``META`` with other values, of the preprocessing too; None leaves a key out."""
    meta = copy.deepcopy(META)
    for key, value in changes.items():
        part = meta["preprocessing"] if key in meta["preprocessing"] else meta
        part[key] = value
        if value is None:
            del part[key]
    return meta


def make_network(
    image: tuple[str | int, ...] = ("N", 3, 8, 6),
    weights: np.ndarray = IDENTITY,
    names: tuple[str, str] = ("image", "logits"),
) -> bytes:
    """ONNX: the mean over H and W, float32 (N, C), times ``weights`` (C, K)."""
    # MindSpore asks for this parser too, and can't be imported once protobuf has loaded another.
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    from onnx import TensorProto, helper, numpy_helper

    source, target = names
    nodes = [
        helper.make_node("ReduceMean", [source], ["colour"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["colour", "weights"], [target]),
    ]
    graph = helper.make_graph(
        nodes,
        "strongest-colour",
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, list(image))],
        [helper.make_tensor_value_info(target, TensorProto.FLOAT, [image[0], weights.shape[1]])],
        [numpy_helper.from_array(weights.astype(np.float32), "weights")],
    )
    opsets = [helper.make_opsetid("", 11)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return model.SerializeToString()


def make_run(folder: Path, network: bytes | None = None, **changes: object) -> Path:
    """Write the run folder; ``changes`` as for ``make_meta``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.json").write_text(json.dumps(make_meta(**changes)))
    (folder / "model.onnx").write_bytes(network or make_network())
    return folder
