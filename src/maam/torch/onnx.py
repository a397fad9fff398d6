"""A network as ONNX from PyTorch: written, reloaded and compared before it counts."""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from maam.core.environment import prepare_onnx
from maam.core.frameworks import require
from maam.core.run_meta import RunMeta
from maam.deploy.onnx import INPUT, LOGITS, exporting, write_verified
from maam.deploy.onnx_writing import Computed, write_model
from maam.torch.outputs import layer_outputs
from maam.torch.weights import get_weights

OPSET = 18


def export_onnx(
    net: nn.Module,
    image_shape: tuple[int, int, int],
    path: Path,
    reference: nn.Module | None = None,
) -> float:
    """Write a network in inference mode as ONNX, opset 18, for any batch size.

    The input is ``image``, float32 (N, C, H, W); the output is ``logits``, float32 (N, K).

    Args:
        net: a network in inference mode.
        image_shape: (C, H, W).
        path: the file to write.
        reference: what the file must compute; the network itself when None. Of a folded network,
            the one before folding.

    Returns:
        The largest difference between a logit of ONNX Runtime and one of the reference in PyTorch
        on random images, relative to the largest logit.

    Raises:
        MaamError: the network can't be exported, or the file does not compute the same; nothing
            has been written then.
    """
    net, logits_of = _prepared(net, reference)
    with exporting():
        return write_verified(_export(net, image_shape), logits_of, image_shape, path)


def export_model(
    net: nn.Module,
    meta: RunMeta,
    images: np.ndarray,
    path: Path,
    reference: nn.Module | None = None,
) -> float:
    """Write the file of a run: the network with its preprocessing, classes and checksum.

    Args:
        net: the folded network in inference mode.
        meta: of the run.
        images: real ones to compare on, uint8 (N, H, W, C) of the network's size.
        path: the file to write; its golden images lie beside it (``deploy.onnx_writing``).
        reference: what the file must compute; the network itself when None.

    Returns:
        The largest difference between a logit of ONNX Runtime and one of the reference in PyTorch,
        relative to the largest logit.

    Raises:
        MaamError: the network can't be exported, or the file does not compute the same: the error
            names the first layer that parts. Nothing is left then.
    """
    net, logits_of = _prepared(net, reference)
    computed = Computed(logits_of, lambda images: layer_outputs(net, images), get_weights(net))
    with exporting():
        return write_model(_export(net, meta.image_shape), computed, meta, images, path)


def _prepared(
    net: nn.Module, reference: nn.Module | None
) -> tuple[nn.Module, Callable[[np.ndarray], np.ndarray]]:
    """A copy of the network on the CPU, and what its file must compute: images -> logits.

    Raises:
        MaamError: a package that writes ONNX is missing.
    """
    require("exporting", "torch", "onnx", "onnxscript")
    prepare_onnx()
    net = copy.deepcopy(net).cpu()
    expected = net if reference is None else copy.deepcopy(reference).cpu()

    def logits_of(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return expected(torch.from_numpy(images)).numpy()

    return net, logits_of


def _export(net: nn.Module, image_shape: tuple[int, int, int]) -> bytes:
    """The content of the file."""
    two = torch.zeros((2, *image_shape))  # of one image the exporter would make a constant
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of packages that are not installed
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter about its own insides
            file = Path(folder) / "model.onnx"
            torch.onnx.export(
                net,
                (two,),
                file,
                input_names=[INPUT],
                output_names=[LOGITS],
                dynamic_shapes=({0: torch.export.Dim("N")},),
                opset_version=OPSET,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
            return _without_traces(file.read_bytes())
    finally:
        logger.setLevel(level)


def _without_traces(content: bytes) -> bytes:
    """An ONNX file without what the exporter notes about the source: file names, stack traces."""
    import onnx

    model = onnx.load_from_string(content)
    graph = model.graph
    values = *graph.input, *graph.output, *graph.value_info, *graph.initializer
    for part in (model, graph, *graph.node, *values):
        del part.metadata_props[:]
    return model.SerializeToString()
