"""Which machine a run is credited to, and what becomes of a run that says too little."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_run import make_run

import maam
import maam.torch
from maam.core.errors import MaamError
from maam.core.frameworks import Device
from maam.core.run_folder import RunFolder
from maam.paper.measured import search
from maam.paper.plan import Row
from maam.paper.runs import read_run

ROW = Row("tables", "mlp-1e", "", {"model": "mlp"}, (0,))
GPU = "NVIDIA H100 80GB HBM3"
MACHINE = {"cpu": "AMD EPYC 9354", "mindspore": "2.7.0", "torch": "2.13.0+cu130"}


def write(folder: Path, **facts: Any) -> Path:
    """A finished run with these facts."""
    scores = dict.fromkeys(("accuracy", "f1_macro", "precision_macro", "recall_macro"), 0.5)
    known = {
        "config": {"framework": "torch"},
        "environment": MACHINE,
        "images": {"train": 8},
        "data_digests": {"test": "0"},
        "metrics": scores,
    }
    make_run(folder, **{**known, **facts})
    row = {"epoch": 1, "train_loss": 1.0, "val_accuracy": None, "agent_weights": []}
    RunFolder(folder).write_history([row])
    return folder


@pytest.mark.parametrize(
    ("facts", "machine"),
    [
        ({"device": "CPU"}, "PyTorch 2.13.0+cu130 on CPU (AMD EPYC 9354)"),
        (
            {"device": "CUDA", "device_name": GPU},
            f"PyTorch 2.13.0+cu130 on CUDA ({GPU})",
        ),
        ({"device": f"CUDA ({GPU})"}, f"PyTorch 2.13.0+cu130 on CUDA ({GPU})"),
        (
            {"device": "CUDA", "environment": {**MACHINE, "gpu": GPU}},
            f"PyTorch 2.13.0+cu130 on CUDA ({GPU})",
        ),
        (
            {"device": "CPU", "environment": {**MACHINE, "gpu": GPU}},  # which it did not use
            "PyTorch 2.13.0+cu130 on CPU (AMD EPYC 9354)",
        ),
        (
            {"device": "Ascend", "device_name": "Ascend 910B", "config": {}},
            "MindSpore 2.7.0 on Ascend (Ascend 910B)",
        ),
    ],
)
def test_a_run_is_credited_to_what_computed_it(tmp_path, facts, machine):
    assert read_run(write(tmp_path / "run", **facts), ROW, 0)["machine"] == machine


def test_a_training_remembers_its_accelerator(tmp_path, monkeypatch):
    chosen = maam.torch.set_device

    def set_device(device: str, mode: str = "auto") -> Device:
        chosen("CPU", mode)
        return Device("CUDA", GPU)

    monkeypatch.setattr(maam.torch, "set_device", set_device)
    options = {"data": "digits", "model": "mlp", "framework": "torch", "epochs": 1}
    folder = maam.train(**options, out=tmp_path / "run").run
    run = read_run(folder, ROW, 0)
    assert run["machine"].startswith("PyTorch ") and run["machine"].endswith(f" on CUDA ({GPU})")
    meta = json.loads((folder / "meta.json").read_text())
    assert (meta["device"], meta["device_name"]) == ("CUDA", GPU)
    assert meta["environment"]["cpu"] not in run["machine"]


@pytest.mark.parametrize(
    "facts",
    [{"device": "CUDA"}, {"metrics": {}}, {"data_digests": {}}, {"environment": {}}],
    ids=lambda facts: next(iter(facts)),
)
def test_a_run_that_says_too_little_is_named(tmp_path, facts):
    folder = write(tmp_path / "run", **{"device": "CPU", **facts})
    with pytest.raises(MaamError, match=rf"^{folder} is damaged, delete it"):
        read_run(folder, ROW, 0)


def test_the_search_is_led_by_its_best_on_held_out_images(tmp_path):
    trained = {"parameters": 8, "epochs": 100, "device": "CPU"}
    every = [
        {"recipe": "wide", "model": "maam", "accuracy": 0.9, **trained},
        {"recipe": "seen", "model": "maam-multires", "accuracy": 0.8, **trained},
        {"recipe": "seen", "model": "maam-multires", "accuracy": 0.7, **trained},
        {"recipe": "new", "model": "maam-p3", "accuracy": 0.95, **trained},
    ]
    held_out = [
        {"model": "maam-multires"},
        {"model": "maam"},
    ]  # sorted
    path = tmp_path / "search.json"
    path.write_text(json.dumps({"rows": held_out, "all_images": every}))
    found = search(path)
    assert found is not None
    assert [row["recipe"] for row in found] == ["seen", "wide", "new"]
    assert found[0]["accuracies"] == [0.8, 0.7]
    assert search(tmp_path / "none.json") is None
