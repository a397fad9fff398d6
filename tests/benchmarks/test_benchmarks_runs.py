"""From run folders to what the scripts make of them: shipped weights, rows, pictures, tries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import design
import design_muon
import finetune
import numpy as np
import peers
import pytest
import ship
import torch
from tiny_run import make_run
from torch import nn

import maam
import maam.torch
from maam.core.config import TrainConfig
from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors
from maam.data.base import ArraySplit, Dataset
from maam.data.sources import SOURCES
from maam.models import registry

ROOT = Path(__file__).parents[2]
CLASSES = tuple("0123456789")
RECIPE = 'data = "cifar10"\nmodel = "cnn"\nframework = "torch"\nepochs = 1\nval_fraction = 0.0\n'


def make_split(count: int, side: int, channels: int) -> ArraySplit:
    """Noise, ten classes in turn."""
    rng = np.random.default_rng(count)
    images = rng.integers(0, 256, (count, side, side, channels)).astype(np.uint8)
    labels = (np.arange(count) % 10).astype(np.int32)
    return ArraySplit(images, labels, tuple(f"image/{number}" for number in range(count)))


@pytest.fixture
def _small_data(monkeypatch):
    """CIFAR-10 and Fashion-MNIST of a few images of noise."""
    for name, side, channels in (("cifar10", 32, 3), ("fashion-mnist", 28, 1)):
        train, test = make_split(40, side, channels), make_split(20, side, channels)
        dataset = Dataset(name, "noise", CLASSES, train, train.take(np.arange(0)), test)
        monkeypatch.setitem(SOURCES, name, lambda *_, found=dataset: found)


@pytest.fixture(autouse=True)
def _models_as_they_were(monkeypatch):
    monkeypatch.setattr(registry, "_models", dict(registry._models))


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe where the scripts look for it."""
    path = tmp_path / "recipes" / "cnn.toml"
    path.parent.mkdir()
    path.write_text(RECIPE)
    for script in (peers, finetune):
        monkeypatch.setattr(script, "ROOT", tmp_path)
    return path


@pytest.mark.slow
@pytest.mark.usefixtures("_small_data")
def test_a_run_becomes_weights_that_ship(tmp_path, recipe, monkeypatch):
    run = maam.train(recipe=recipe, out=tmp_path / "runs" / "cnn-seed-0").run
    weights = tmp_path / "weights"
    weights.mkdir()
    monkeypatch.setattr(ship, "WEIGHTS", weights)
    (weights / "cnn").mkdir()
    (weights / "cnn" / "older").touch()
    folder = RunFolder(ship.ship(recipe, [run], None, "auto"))
    assert folder.path == weights / "cnn" and not (weights / "cnn" / "older").exists()
    assert [path.name for path in weights.iterdir()] == ["cnn"]
    meta, before = folder.read_meta(), RunFolder(run).read_meta()
    assert meta.shipped and meta.classes == before.classes and meta.images == before.images
    assert (meta.device, meta.environment, meta.seconds) == ("", {}, None)  # not of these weights
    assert "out" not in meta.config and "device" not in meta.config
    assert meta.metrics is not None and "confusion" not in meta.metrics
    found, facts = load_tensors(folder.best)
    assert facts == {"seed": 0}
    assert {str(array.dtype) for array in found.values()} == {"float16", "float32"}
    assert maam.evaluate(folder.path)["accuracy"] == meta.metrics["accuracy"]
    pixels = make_split(20, 32, 3).images
    assert len(list(maam.predict(folder.path, list(pixels)))) == 20
    card = folder.card.read_text()
    assert f"| Test accuracy, `model.onnx` | {100 * meta.metrics['accuracy']:.2f} % |" in card
    assert "Recipe: `recipes/cnn.toml`, seed 0, 1 epochs with PyTorch" in card


def test_shipped_weights_are_what_ship_writes():
    for path in sorted(ship.WEIGHTS.glob("**/meta.json")):
        values = json.loads(path.read_text())
        wanted = {"format", *ship.KEPT, "config", "shipped", "metrics", "calibration"}
        assert values.keys() <= wanted and values["shipped"]
        # Options that are newer than the training are not there.
        assert values["config"].items() <= ship.options(values["config"]).items()


def write_run(folder: Path, seed: int, accuracy: float, campaign: bool, **facts: Any) -> None:
    config = TrainConfig(
        data="cifar10", model="cnn", framework="torch", epochs=1, val_fraction=0.0, seed=seed
    )
    known = {
        "config": config.model_dump(mode="json", exclude_none=True),
        "model": "cnn",
        "data": "cifar10",
        "data_source": "noise",
        "data_digests": {"test": "0"},
        "images": {"train": 8, "val": 0, "test": 8},
        "device": "CPU",
        "environment": {"cpu": "AMD EPYC"},
        "metrics": None if campaign else {"split": "test", "accuracy": accuracy},
    }
    make_run(folder, **{**known, **facts})
    if campaign:
        RunFolder(folder).scores.write_text(json.dumps({"epochs": 1, "accuracy": accuracy}))


GPU = {"device": "CUDA", "device_name": "NVIDIA H100"}


@pytest.mark.parametrize(
    ("facts", "machine"),
    [
        ({}, "AMD EPYC"),
        (GPU, "NVIDIA H100"),
        ({"device": "CUDA (NVIDIA H100)"}, "NVIDIA H100"),
        ({"device": "CUDA", "environment": {"cpu": "AMD EPYC", "gpu": "A100"}}, "A100"),
    ],
)
def test_finished_seeds_are_one_row(tmp_path, recipe, monkeypatch, facts, machine):
    monkeypatch.setattr(peers, "measure", lambda models: {"cnn": {"latency_ms": 0.5}})
    monkeypatch.setattr(maam.torch, "export_onnx", lambda *_: 0.0)
    runs = tmp_path / "runs"
    write_run(runs / "cnn-seed-0", 0, 0.5, campaign=False, **facts)
    write_run(runs / "cnn-seed-1", 1, 0.6, campaign=True, **facts)
    write_run(runs / "cnn-seed-0-fused", 0, 0.1, campaign=False)
    (runs / "cnn-seed-2").mkdir()  # not begun
    write_run(runs / "cnn-seed-3", 3, 0.1, campaign=True)
    (runs / "cnn-seed-3" / "scores.json").write_text('{"epochs": 0, "accuracy": 0.1}')
    (row,) = peers.collect([runs], [])["rows"]
    assert row["accuracies"] == {"0": 50.0, "1": 60.0} and row["accuracy"] == 55.0
    assert (row["recipe"], row["ours"]) == ("cnn", False)
    assert row["trained_on"] == {"0": machine, "1": machine}
    assert row["parameters"] == maam.torch.count_parameters(
        maam.torch.fuse(maam.torch.create_model("cnn").eval())
    )
    page = peers.page({"rows": [row], "environment": {"cpu": "AMD EPYC"}})
    assert f"| cnn | {row['parameters']:,} |" in page and f"| {machine} |" in page


@pytest.mark.usefixtures("recipe")
def test_seeds_join_those_before_unless_trained_otherwise(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(peers, "measure", lambda models: {"cnn": {"latency_ms": 0.5}})
    monkeypatch.setattr(maam.torch, "export_onnx", lambda *_: 0.0)
    write_run(tmp_path / "a" / "cnn-seed-0", 0, 0.5, campaign=False)
    write_run(tmp_path / "b" / "cnn-seed-2", 2, 0.7, campaign=True, environment={"cpu": "Xeon"})
    write_run(tmp_path / "b" / "table-cnn-seed-0", 0, 0.7, campaign=True)
    (before,) = peers.collect([tmp_path / "a"], [])["rows"]
    (row,) = peers.collect([tmp_path / "b"], [before])["rows"]
    assert "left out, for recipes/ has no such recipe: table-cnn" in capsys.readouterr().out
    assert row["accuracies"] == {"0": 50.0, "2": 70.0} and row["accuracy"] == 60.0
    assert row["trained_on"] == {"0": "AMD EPYC", "2": "Xeon"}
    page = peers.page({"rows": [row], "environment": {"cpu": "AMD EPYC"}})
    assert "| 2 (0, 2) | 60.00 ± 14.14 |" in page
    assert "| AMD EPYC, Xeon |" in page
    for change in ({"epochs": 9}, {"options": "others"}):
        (alone,) = peers.collect([tmp_path / "b"], [before | change])["rows"]
        assert alone["accuracies"] == {"2": 70.0} and alone["trained_on"] == {"2": "Xeon"}


def test_finished_trainings_are_rows_of_the_page(tmp_path):
    for seed, accuracy in ((0, 0.5), (1, 0.7)):
        folder = tmp_path / f"maamnet-nano-cifar-10-10-a-class-from-scratch-seed-{seed}"
        write_run(folder, seed, accuracy, campaign=False)
        RunFolder(folder).card.touch()
    (row,) = finetune.collect(tmp_path)
    assert (row["task"], row["start"]) == ("CIFAR-10, 10 a class", "from scratch")
    assert (row["accuracy"], row["seeds"], row["framework"]) == (60.0, 2, "PyTorch")
    assert row["command"].startswith("maam train cifar10 --model maamnet-nano ")
    page = finetune.page({"rows": [row]})
    assert "| CIFAR-10, 10 a class | 60.00 ± 14.14 | 2 |" in page


def test_the_weights_of_then_are_named_and_not_mixed_with_those_of_now(tmp_path, monkeypatch):
    for seed in (0, 1):
        folder = tmp_path / f"maamnet-tiny-photos-cifar-10s-weights-seed-{seed}"
        write_run(folder, seed, 0.5, campaign=False)
        RunFolder(folder).card.touch()
        Path(f"{folder}{finetune.BEGAN}").write_text("`recipes/older.toml`")
    (row,) = finetune.collect(tmp_path)
    assert "CIFAR-10's weights here are those of `recipes/older.toml`." in finetune.page(
        {"rows": [row]}
    )
    monkeypatch.setattr(maam, "train", lambda **_: pytest.fail("trained"))
    with pytest.raises(MaamError, match=r"began with the weights of `recipes/older\.toml`, now"):
        finetune.train("maamnet-tiny", "photos", finetune.CIFAR10S, 0, tmp_path, None)
    Path(f"{folder}{finetune.BEGAN}").write_text(finetune.shipped_recipe("maamnet-tiny"))
    finetune.train("maamnet-tiny", "photos", finetune.CIFAR10S, 1, tmp_path, None)
    with pytest.raises(MaamError, match="differ in more than the seed"):
        finetune.collect(tmp_path)


def test_no_weights_are_tried_on_their_own_images():
    trainings = finetune.trainings(["maamnet-nano"])
    assert ("maamnet-nano", "CIFAR-10, 10 a class", "Tiny ImageNet's weights") in trainings
    assert ("maamnet-nano", "CIFAR-10, 10 a class", "CIFAR-10's weights") not in trainings


RESULTS = json.loads((ROOT / "results" / "design.json").read_text())
TRIES = {row["name"]: row for row in RESULTS["tries"]}


def test_results_are_of_tries():
    assert TRIES.keys() <= design.TRIES.keys()


@pytest.mark.parametrize("name", [name for name in design.TRIES if not design.TRIES[name].model])
def test_tries_are_the_networks_of_their_results(name):
    """What a line of the notes stands for can be built, and is what was trained."""
    net = maam.torch.create_model(design.register(name))
    parameters, macs = design.cost(net)
    row = TRIES.get(name, {"parameters": parameters, "macs": macs})
    assert (parameters, macs) == (row["parameters"], row["macs"]) and parameters > 0


def test_muon_makes_the_update_of_a_filter_orthogonal():
    torch.manual_seed(0)
    conv, dense = nn.Conv2d(4, 6, 3, bias=False), nn.Linear(6 * 16, 3)
    net = nn.Sequential(conv, nn.BatchNorm2d(6), nn.Flatten(), dense)
    groups = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": 0.5},
        {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    config = TrainConfig(learning_rate=0.1)
    optimizer = design_muon.make(groups, config)
    given = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert given == {id(p) for p in net.parameters()}
    decays = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert (decays[conv.weight], decays[dense.weight], decays[dense.bias]) == (0, 0.5, 0)
    before = conv.weight.detach().clone()
    net(torch.randn(8, 4, 6, 6)).square().sum().backward()
    optimizer.step()
    scaled = before * (6**0.5 / before.norm())
    update = (scaled - conv.weight.detach()).flatten(1) / 0.1
    values = torch.linalg.svdvals(update)
    assert values.min() > 0.5 and values.max() < 1.5
