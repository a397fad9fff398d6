"""The page of runtimes: tables by threads, and nano beside the network of MLPerf Tiny."""

from __future__ import annotations

from typing import Any

import pytest
from runtime_speed import accuracies, collect, page

from maam import MaamError


def row(model: str, runtime: str, threads: int, ms: float) -> dict[str, Any]:
    return {
        "model": model,
        "runtime": runtime,
        "threads": threads,
        "macs": 12_449_024,
        "p50_ms": ms,
        "images_per_second": 1000 / ms,
        "memory_mib": 3.14,
        "batch_size": 64,
    }


def test_the_page_has_every_number_once():
    report = {
        "command": "python benchmarks/runtime_speed.py",
        "rounds": 7,
        "seconds": 2.0,
        "environment": {"cpu": "a processor", "onnxruntime": "1.32.0", "torch": "2.14"},
        "accuracy": {"resnet8": 83.11, "maamnet-nano": 86.63},
        "rows": [
            row("resnet8", "torch", 1, 0.5),
            row("resnet8", "onnx", 1, 0.2),
            row("maamnet-nano", "onnx", 1, 0.25),
            row("maamnet-nano", "torch", 1, 0.4),
            row("maamnet-nano", "c", 1, 1.5),
            row("maamnet-nano", "onnx", 2, 0.15),
        ],
    }
    text = page(report)
    assert "|  | Accuracy % | MACs (M) | onnx | c | torch |" in text
    assert "| **maamnet-nano** | 86.63 | 12.4 | 0.250 | 1.500 | 0.400 |" in text
    assert "| resnet8 | 83.11 | 12.4 | 0.200 | - | 0.500 |" in text
    assert "In 1 of 2 forms maamnet-nano is at least as fast as resnet8" in text
    assert "| onnx | 1 | 0.250 | 0.200 | 1.25 |" in text
    assert "Versions: onnxruntime 1.32.0, torch 2.14." in text


def test_models_are_those_of_the_comparison():
    assert {"resnet8", "maamnet-nano", "mobilenetv2"} <= set(accuracies())
    with pytest.raises(MaamError, match="has no lenet"):
        collect(["lenet"], 0.01, 1)


@pytest.mark.slow
def test_a_peer_is_measured_with_fresh_weights():
    report = collect(["resnet8"], 0.01, 1)
    assert {each["runtime"] for each in report["rows"]} >= {"onnx", "onnx-int8", "torch"}
    assert {each["model"] for each in report["rows"]} == {"resnet8"}
    assert "resnet8" in page(report)
