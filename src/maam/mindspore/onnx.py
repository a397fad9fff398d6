"""A network as ONNX from MindSpore: written, reloaded and compared before it counts."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn

from maam.core.frameworks import require
from maam.core.run_meta import RunMeta
from maam.deploy.onnx import INPUT, LOGITS, exporting, write_verified
from maam.deploy.onnx_writing import Computed, write_model
from maam.mindspore.outputs import layer_outputs
from maam.mindspore.weights import get_weights


def export_onnx(
    net: nn.Cell, image_shape: tuple[int, int, int], path: Path, reference: nn.Cell | None = None
) -> float:
    """Write a network in inference mode as ONNX, opset 11, for any batch size.

    The input is ``image``, float32 (N, C, H, W); the output is ``logits``, float32 (N, K).

    Args:
        net: a network for which ``set_train(False)`` holds.
        image_shape: (C, H, W).
        path: the file to write.
        reference: what the file must compute; the network itself when None. Of a folded network,
            the one before folding.

    Returns:
        The largest difference between a logit of ONNX Runtime and one of the reference in MindSpore
        on random images, relative to the largest logit.

    Raises:
        MaamError: the network can't be exported, or the file does not compute the same; nothing
            has been written then.
    """
    require("exporting", "train", "onnx")

    def logits_of(images: np.ndarray) -> np.ndarray:
        return (reference or net)(ms.Tensor(images)).asnumpy()

    with exporting():
        return write_verified(_export(net, image_shape), logits_of, image_shape, path)


def export_model(
    net: nn.Cell,
    meta: RunMeta,
    images: np.ndarray,
    path: Path,
    reference: nn.Cell | None = None,
) -> float:
    """Write the file of a run: the network with its preprocessing, classes and checksum.

    Args:
        net: the folded network, for which ``set_train(False)`` holds.
        meta: of the run.
        images: real ones to compare on, uint8 (N, H, W, C) of the network's size.
        path: the file to write; its golden images lie beside it (``deploy.onnx_writing``).
        reference: what the file must compute; the network itself when None.

    Returns:
        The largest difference between a logit of ONNX Runtime and one of the reference in
        MindSpore, relative to the largest logit.

    Raises:
        MaamError: the network can't be exported, or the file does not compute the same: the error
            names the first layer that parts. Nothing is left then.
    """
    require("exporting", "train", "onnx")

    def logits_of(images: np.ndarray) -> np.ndarray:
        return (reference or net)(ms.Tensor(images)).asnumpy()

    computed = Computed(logits_of, lambda images: layer_outputs(net, images), get_weights(net))
    with exporting():
        return write_model(_export(net, meta.image_shape), computed, meta, images, path)


def _export(net: nn.Cell, image_shape: tuple[int, int, int]) -> bytes:
    """The content of the file.

    MindSpore changes the graph that it writes and keeps it, so that a second file of the same
    network fails ("out of range"): it is given a copy.
    """
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        one = ms.Tensor(np.zeros((1, *image_shape), np.float32))
        ms.export(copy.deepcopy(net), one, file_name=f"{folder}/model", file_format="ONNX")
        model = onnx.load(f"{folder}/model.onnx")
    graph = model.graph
    # The weights are inputs too in MindSpore's file; the image is the input that is no weight.
    weights = {weight.name for weight in graph.initializer}
    (image,) = (entry for entry in graph.input if entry.name not in weights)
    (logits,) = graph.output
    for node in graph.node:
        for names, old, new in (
            (node.input, image.name, INPUT),
            (node.output, logits.name, LOGITS),
            (node.input, logits.name, LOGITS),
        ):
            names[:] = [new if name == old else name for name in names]
    image.name, logits.name = INPUT, LOGITS
    for entry in (image, logits):
        entry.type.tensor_type.shape.dim[0].dim_param = "N"
    graph.name = "maam"
    onnx.checker.check_model(model)
    return model.SerializeToString()
