"""Tables, the sentence and the CSV of what was measured in several runtimes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from maam import MaamError
from maam.report import runtimes
from maam.report.runtime_plot import accuracy_plot

ROW: dict[str, Any] = {
    "model": "runs/photos",
    "network": "maamnet-nano",
    "runtime": "onnx",
    "title": "ONNX Runtime",
    "precision": "float32",
    "threads": 1,
    "accuracy": 0.8655,
    "images": None,
    "parameters": 79_978,
    "macs": 12_449_024,
    "bytes": 174_451,
    "p50_ms": 0.25,
    "p90_ms": 0.5,
    "p99_ms": 12.345,
    "p50_rounds_ms": (0.25, 0.2),
    "calls_per_second": 4000.0,
    "images_per_second": 5000.4,
    "batch_size": 64,
    "memory_mib": 12.34,
    "process_mib": 80.0,
    "load_ms": 21.6,
    "accuracy_small": None,
}
INT8 = {**ROW, "runtime": "c-int8", "precision": "int8", "accuracy": None, "p50_ms": 0.5}


def test_a_line_and_the_title_of_a_model():
    line = ("onnx", "1", "86.55 %", "174", "0.250", "0.500", "12.3", "5,000", "12.3", "22")
    assert runtimes.lines([ROW]) == [line]
    assert len(runtimes.HEADER) == len(line)
    title = "runs/photos (maamnet-nano): 79,978 parameters, 12.4 M multiply-accumulates"
    assert runtimes.title([ROW]) == title
    unknown = {**ROW, "network": None, "parameters": None, "macs": None, "accuracy": None}
    assert runtimes.title([unknown]) == "runs/photos"
    assert runtimes.lines([unknown])[0][2] == "-"


def test_a_line_of_mlperf_tiny():
    row = {**ROW, "images": 10_000, "accuracy_small": 0.87}
    line = ("onnx", "1", "87.00 %", "86.55 %", "4,000.0", "0.500")
    assert runtimes.strict_lines([row]) == [line]
    assert len(runtimes.STRICT_HEADER) == len(line)


def test_the_fastest_form_is_recommended():
    said = runtimes.recommendation([INT8, ROW, {**ROW, "threads": 2, "p50_ms": 0.3}])
    assert said == (
        "runs/photos: the fastest here is onnx on 1 thread, 0.250 ms an image; c-int8 takes 2.00 "
        "times as long."
    )
    said = runtimes.recommendation([{**INT8, "accuracy": 0.8635, "p50_ms": 0.2}, ROW])
    assert "the fastest here is c-int8 on 1 thread" in said
    assert "int8 is right on 0.20 points fewer" in said


def test_no_form_is_recommended_where_other_programs_ran():
    said = runtimes.recommendation([{**ROW, "p50_ms": 0.48, "p90_ms": 20.7}, INT8])
    assert "no form is called the fastest" in said and "onnx in ten took more than 20.7" in said


def test_csv_has_a_line_for_each_row():
    rows = list(csv.DictReader(runtimes.csv_text([ROW, INT8]).splitlines()))
    assert [row["runtime"] for row in rows] == ["onnx", "c-int8"]
    assert rows[0]["p50_rounds_ms"] == "0.25 0.2" and rows[1]["accuracy"] == ""


def test_a_plot_needs_an_accuracy(tmp_path: Path):
    accuracy_plot([ROW, INT8], "a processor", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 500
    with pytest.raises(MaamError, match="score with `data`"):
        accuracy_plot([INT8], "a processor", tmp_path / "b.png")
