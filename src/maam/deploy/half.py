"""A network's weights kept in float16 in its ONNX file: half the size, the same arithmetic."""

from __future__ import annotations

import numpy as np


def halved(bare: bytes) -> bytes:
    """A bare network with its weights, but not its biases, stored in float16.

    ONNX Runtime turns them into float32 once, when it loads the file. Nothing is lost of weights
    that are values of float16.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(bare)
    graph, casts = model.graph, []
    for entry in [entry for entry in graph.input if entry.name != "image"]:
        graph.input.remove(entry)  # MindSpore lists the weights there too
    for weight in graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.dtype != np.float32 or array.ndim < 2:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(array.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model.SerializeToString()
