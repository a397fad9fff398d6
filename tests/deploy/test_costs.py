"""What models cost: the stored table is what either framework counts, and needs neither."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from maam.core import frameworks
from maam.deploy import costs
from maam.models.variants import MODELS

COUNTED = ["maam", "maamnet-nano", "cnn", "rnn"]


@pytest.mark.parametrize("framework", ["mindspore", "torch"])
def test_the_stored_costs_are_the_counted_ones(framework, monkeypatch):
    monkeypatch.setattr(frameworks, "choose", lambda wanted: framework)
    stored = costs.stored_costs()
    assert costs.count_costs(COUNTED, 3, 32) == {name: stored[name] for name in COUNTED}


def test_the_table_has_every_model():
    stored = costs.stored_costs()
    assert list(stored) == list(MODELS)
    for name, cost in stored.items():
        assert 0 < cost.deployed <= cost.parameters and cost.macs > 0, name


def test_images_that_are_too_small_for_a_model_leave_it_out(monkeypatch):
    monkeypatch.setattr(frameworks, "choose", lambda wanted: "torch")
    counted = costs.count_costs(["mlp", "maamnet-nano"], 1, 3)
    assert list(counted) == ["mlp"]
    assert counted["mlp"].macs < costs.stored_costs()["mlp"].macs


def test_the_table_is_written_as_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(frameworks, "choose", lambda wanted: "torch")
    monkeypatch.setattr(costs, "list_models", lambda: ["cnn", "mlp"])
    stored = costs.stored_costs()
    text = costs.TABLE.read_text(encoding="utf-8")
    monkeypatch.setattr(costs, "TABLE", tmp_path / "costs.json")
    costs.write_costs()
    assert costs.stored_costs() == {name: stored[name] for name in ("cnn", "mlp")}
    assert text == json.dumps(json.loads(text), indent=1) + "\n"


def test_reading_the_table_imports_no_framework():
    program = (
        "import sys\n"
        "from maam.deploy.costs import stored_costs\n"
        "from maam.models import list_models\n"
        "assert list(stored_costs()) == list_models()\n"
        "print(sorted({'mindspore', 'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
