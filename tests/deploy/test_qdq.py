"""The ONNX form of a network in integers computes what the reference computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layered_nets import every_kind, preprocessing, random_images, random_layers

from maam.deploy.int8 import LOGIT_STEPS
from maam.deploy.onnx import Network
from maam.deploy.qdq import qdq_model
from maam.deploy.quantization import quantize_layers


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("every kind", (8, 6)),
        ("maamnet-nano", (12, 12)),
        ("maam", (8, 8)),
        ("maam-k135", (9, 8)),
        ("maam-no-reduce", (8, 8)),
    ],
)
def test_logits_are_within_a_step(model, size, tmp_path: Path):
    layers = every_kind() if model == "every kind" else random_layers(model, size)
    how = preprocessing(size)
    net = quantize_layers(layers, how, random_images(32, size))
    path = tmp_path / "model-int8.onnx"
    path.write_bytes(qdq_model(net))
    network = Network(path)
    assert network.image_shape == [3, *size]
    images = random_images(50, size, seed=5)
    found = network(how(images)) / net.logit_scale
    expected = net.logits(images)
    steps = np.abs(found.clip(-(2**15), 2**15 - 1) - expected).max(1) / LOGIT_STEPS
    assert np.median(steps) < 0.01  # most images differ by nothing but the last rounding
    assert (steps <= 1).mean() >= 0.9  # in others a number was rounded the other way
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.96


def test_an_old_runtime_opens_it():
    import onnx

    net = quantize_layers(every_kind(), preprocessing(), random_images(8))
    model = onnx.load_from_string(qdq_model(net))
    assert model.ir_version == 8  # ONNX Runtime 1.16 reads up to 9
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 18)]
    kinds = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= kinds
    assert "Relu" not in kinds
    sizes = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert sizes["stem.0.weight.int"] == onnx.TensorProto.INT8
    assert sizes["stem.0.bias.int"] == onnx.TensorProto.INT32
