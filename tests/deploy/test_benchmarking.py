"""``maam benchmark``: every runtime computes the same, and what is measured is told in full."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_run import make_network, make_run

import maam
from maam.cli.app import run
from maam.deploy.onnx import Network
from maam.deploy.runtimes import RUNTIMES
from maam.deploy.runtimes.models import find_model

QUICK = {"seconds": 0.01, "rounds": 1, "threads": (1,), "batch_size": 4}
FLAGS = ("--seconds", "0.01", "--threads", "1", "--batch-size", "4")
NO_COMPILER = RUNTIMES["c"].unavailable()
SHADES = {"red": (200, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 200)}


def colours(folder: Path, count: int = 3) -> Path:
    """Images that the network of ``tiny_run`` names right."""
    for name, shade in SHADES.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (6, 8), tuple(max(0, c - number) for c in shade)).save(
                folder / name / f"{number}.png"
            )
    return folder


def fails(capsys, *arguments) -> str:
    """The one line of an error with exit code 2."""
    assert run(["benchmark", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.err.startswith("maam: ")
    return captured.err


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A run, measured and scored, by the command line."""
    home = tmp_path_factory.mktemp("benchmark")
    make_run(home / "run", metrics={"accuracy": 0.5, "split": "test"}, parameters=9, macs=1000)
    files = {name: home / f"found.{name}" for name in ("json", "csv", "png")}
    command = ["benchmark", str(home / "run"), *FLAGS, "--runtimes", "onnx", "--rounds", "2"]
    command += ["--data", str(colours(home / "colours"))]
    command += ["--json", str(files["json"]), "--csv", str(files["csv"])]
    assert run([*command, "--plot", str(files["png"])]) == 0
    return home / "run", files


def test_a_run_is_measured_and_scored(scored):
    folder, files = scored
    report = json.loads(files["json"].read_text())
    (row,) = report["rows"]
    assert row["model"] == str(folder) and row["network"] == "maam"
    assert (row["runtime"], row["precision"], row["threads"]) == ("onnx", "float32", 1)
    assert (row["accuracy"], row["images"]) == (1.0, 9)
    assert (row["parameters"], row["macs"]) == (9, 1000)
    assert row["bytes"] == (folder / "model.onnx").stat().st_size
    assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
    assert len(row["p50_rounds_ms"]) == report["rounds"] == 2
    assert min(row[key] for key in ("images_per_second", "load_ms", "process_mib")) > 0
    assert report["environment"]["onnxruntime"] and "colours" in report["data_source"]
    assert "rules" not in report and report["skipped"] == []


def test_csv_and_plot_have_the_same(scored):
    _, files = scored
    (row,) = csv.DictReader(files["csv"].read_text().splitlines())
    expected = json.loads(files["json"].read_text())["rows"][0]
    assert row["p50_ms"] == str(expected["p50_ms"])
    assert row["p50_rounds_ms"] == " ".join(map(str, expected["p50_rounds_ms"]))
    with Image.open(files["png"]) as picture:
        assert picture.width > 500


def test_without_data_the_accuracy_is_the_recorded_one(tmp_path, capsys):
    folder = make_run(tmp_path / "run", metrics={"accuracy": 0.5, "split": "test"})
    assert run(["benchmark", str(folder), *FLAGS, "--rounds", "1", "--runtimes", "onnx"]) == 0
    text = capsys.readouterr().out
    assert "50.00 %" in text
    assert "the fastest here is onnx on 1 thread" in text


def test_a_file_alone_is_measured_as_what_it_is(tmp_path):
    make_run(tmp_path / "run", metrics={"accuracy": 0.5, "split": "test"})
    (tmp_path / "other.onnx").write_bytes(make_network())
    files = [tmp_path / "run/model.onnx", tmp_path / "other.onnx"]
    report = maam.benchmark(*files, **QUICK, runtimes=("onnx",))
    assert [row.model for row in report.rows] == [str(file) for file in files]
    assert [row.accuracy for row in report.rows] == [0.5, None]
    assert [row.network for row in report.rows] == ["maam", None]


def test_each_precision_has_the_accuracy_that_was_recorded_for_it():
    model = find_model("maamnet-nano")
    report = maam.benchmark("maamnet-nano", **QUICK, runtimes=("onnx", "onnx-int8"))
    recorded = {
        precision: float(Network(file).properties["accuracy"].split()[0])
        for precision, file in model.files.items()
    }
    assert {row.precision: row.accuracy for row in report.rows} == recorded
    (alone,) = maam.benchmark(model.files["int8"], **QUICK, runtimes=("onnx-int8",)).rows
    assert alone.accuracy == recorded["int8"]


def test_every_runtime_computes_the_same(rng):
    model = find_model("maamnet-nano")
    images = rng.integers(0, 256, (3, 32, 32, 3), np.uint8)
    expected = Network(model.files["float32"])(images)
    measured = [
        each for each in RUNTIMES.values() if not each.unavailable() and not each.lacks(model)
    ]
    assert len(measured) >= 2
    for runtime in measured:
        session = runtime.load(model, 1)
        logits = session.run(session.prepare(images))
        # model.onnx ships in float16, folded before it was rounded; best.safetensors is not.
        tolerance = 1e-2 if runtime.precision == "float32" else 2
        np.testing.assert_allclose(logits, expected, atol=tolerance, err_msg=runtime.title)
        assert session.bytes > 50_000


@pytest.mark.skipif(bool(NO_COMPILER), reason=NO_COMPILER)
def test_forms_take_turns_and_what_a_model_lacks_is_told(tmp_path):
    seen = []
    report = maam.benchmark(
        "maamnet-nano",
        make_run(tmp_path / "run"),
        **{**QUICK, "rounds": 2},
        runtimes=("onnx", "c"),
        progress=lambda done, total, what: seen.append((done, total, what)),
    )
    names = [(row.model, row.runtime) for row in report.rows]
    folder = str(tmp_path / "run")
    assert names == [("maamnet-nano", "onnx"), ("maamnet-nano", "c"), (folder, "onnx")]
    (skipped,) = report.skipped
    assert (skipped.model, skipped.runtime) == (folder, "c")
    assert [done for done, _, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert [what for _, _, what in seen[:3]] == [what for _, _, what in seen[3:]]
    assert report.rows[1].accuracy == report.rows[0].accuracy


def test_bad_input_is_one_line(tmp_path, capsys):
    folder = make_run(tmp_path / "run")
    (tmp_path / "photo.onnx").write_text("no model")
    assert "photo.onnx is damaged or not ONNX" in fails(capsys, str(tmp_path / "photo.onnx"))
    assert "does not exist" in fails(capsys, str(tmp_path / "nothing"))
    said = fails(capsys, str(folder), "--runtimes", "tflite")
    assert "--runtimes tflite is none of onnx, onnx-int8, openvino" in said
    assert "--threads 0" in fails(capsys, str(folder), "--threads", "0")
    assert "this process may use 1 to" in fails(capsys, str(folder), "--threads", "1", "4096")
    assert "--rounds" in fails(capsys, str(folder), "--rounds", "0")
    said = fails(capsys, str(folder), "--runtimes", "onnx-int8")
    assert "model-int8.onnx: `maam quantize" in said
    said = fails(capsys, str(folder), "--json", "no-folder/a.json")
    assert "there is no folder no-folder" in said
    (folder / "model.onnx").unlink()
    assert "model.onnx is missing" in fails(capsys, str(folder))
    if reason := RUNTIMES["openvino"].unavailable():
        assert reason in fails(capsys, "maamnet-nano", "--runtimes", "openvino")


def test_only_a_run_can_be_scored(tmp_path, capsys):
    (tmp_path / "other.onnx").write_bytes(make_network())
    data = ("--data", str(colours(tmp_path / "colours")))
    said = fails(capsys, str(tmp_path / "other.onnx"), *data, *FLAGS)
    assert "does not say its classes" in said
    said = fails(capsys, "maamnet-nano", "--mlperf-tiny", "--data", "digits")
    assert "--data digits: MLPerf Tiny scores on cifar10 alone" in said
