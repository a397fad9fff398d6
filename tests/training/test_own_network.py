"""``maam.train(model=net)``: a network of one's own, in either framework."""

from __future__ import annotations

import json
from typing import Any

import mindspore as ms
import numpy as np
import pytest
import torch
from mindspore import Tensor
from mindspore import nn as cells
from PIL import Image
from torch import nn

import maam
import maam.torch
from maam import MaamError
from maam.cli.app import run
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors
from maam.data.preprocessing import Preprocessing
from maam.training.events import Choices, Note

QUICK = {"data": "digits", "limit": 300, "epochs": 2, "batch_size": 32, "learning_rate": 1e-2}


class TinyNet(nn.Module):
    """A MAAM, norms of both kinds, and a buffer that training changes."""

    def __init__(self, classes=10, channels=1, width=16):
        super().__init__()
        self.body = nn.Sequential(
            maam.torch.MAAM(channels, 8), nn.Conv2d(8, width, 3, padding=1), nn.ReLU(inplace=True)
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.fc = nn.Linear(width, classes)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        if self.training:
            self.calls += 1
        return self.fc(self.norm(self.pool(self.body(x))))


class TinyCell(cells.Cell):
    def __init__(self, classes=10, width=16):
        super().__init__()
        conv: Any = cells.Conv2d(8, width, 3)
        norm: Any = cells.BatchNorm2d(width)
        self.body: Any = cells.SequentialCell(maam.MAAM(1, 8), conv, norm, cells.ReLU())
        self.fc: Any = cells.Dense(width, classes)

    def construct(self, x):
        return self.fc(self.body(x).mean((2, 3)))


class Plain(nn.Module):
    """One convolution and a function after it."""

    def __init__(self, after):
        super().__init__()
        self.conv, self.after = nn.Conv2d(1, 10, 3), after

    def forward(self, x):
        return self.after(self.conv(x).mean((2, 3)))


NETS = {"torch": TinyNet, "mindspore": TinyCell}
FRAMEWORKS = [pytest.param("mindspore", marks=pytest.mark.slow), "torch"]


def trained(net, out, **options):
    """The result, and the notes."""
    events = []
    result = maam.train(model=net, **{**QUICK, **options}, out=out, watch=events.append)
    return result, [event.text for event in events if isinstance(event, Note)]


def load(framework, path, net):
    room = maam.torch if framework == "torch" else maam
    return room.load_model(path, model=net)


def weights(framework, net):
    return getattr(maam, framework).get_weights(net)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run in PyTorch, with an average of the weights."""
    return trained(TinyNet(), tmp_path_factory.mktemp("runs") / "own", ema=0.5)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_it_is_trained_in_place_into_an_ordinary_run_folder(framework, tmp_path):
    getattr(maam, framework).set_seed(1)
    net = NETS[framework]()
    before = weights(framework, net)
    result, notes = trained(net, tmp_path / "run", ema=0.5)
    assert result.scores["accuracy"] > 0.3  # of ten classes
    kept, after = load_tensors(result.run / "best.safetensors")[0], weights(framework, net)
    assert kept.keys() == after.keys() == before.keys()
    assert all((kept[name] == after[name]).all() for name in kept)
    assert any((before[name] != after[name]).any() for name in kept)
    assert not net.training
    meta = RunFolder(result.run).read_meta()
    assert meta.model == meta.config["model"] == f"{type(net).__name__} (own)"
    assert meta.framework == framework
    assert meta.calibration and meta.export_error is not None
    assert meta.folded_layers == ("body.0 (MAAM)",)
    assert meta.parameters and meta.deployed["parameters"] < meta.parameters
    assert f"{meta.model}: folds body.0 (MAAM); all else stays as it is" in notes
    assert {"report.html", "README.md", "model.onnx", "plots"} <= {
        path.name for path in result.run.iterdir()
    }
    digits = maam.load_dataset("digits").test
    accuracy = result.scores["accuracy"]
    assert maam.evaluate(result.run, model=NETS[framework]())["accuracy"] == accuracy
    answers = maam.predict(result.run, list(digits.pixels()[:50, ..., 0]))
    room = maam.torch if framework == "torch" else maam.mindspore
    loaded, _ = load(framework, result.run, NETS[framework]())
    preprocessing = Preprocessing.from_dict(meta.preprocessing)
    logits = room.compute_logits(loaded, digits, preprocessing)
    assert [each.classes[0] for each in answers] == [str(each) for each in logits[:50].argmax(1)]
    (why,) = maam.explain(result.run, digits.pixels()[0, ..., 0], model=NETS[framework]())
    assert why.evidence is not None and why.agents is not None


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_resumed_run_repeats_the_uninterrupted_one(framework, tmp_path):
    options = {"schedule": "constant", "ema": 0.5, "limit": 100}
    net = NETS[framework]()
    start = weights(framework, net)
    trained(net, tmp_path / "whole", epochs=2, **options)

    def again():
        fresh = NETS[framework]()
        getattr(maam, framework).set_weights(fresh, start, "the start")
        return fresh

    trained(again(), tmp_path / "parts", epochs=1, **options)
    maam.train(resume=tmp_path / "parts", model=NETS[framework](), epochs=2)
    whole, parts = (
        load_tensors(tmp_path / name / "last.safetensors")[0] for name in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    assert all((whole[name] == parts[name]).all() for name in whole)


def test_card_and_report_say_how_it_is_used(finished):
    folder = finished[0].run
    card = (folder / "README.md").read_text()
    assert card.startswith("# TinyNet (own) trained on digits")
    assert "body.0 (MAAM); all else stays as it is" in card
    assert "maam.train(model=net, recipe='config.toml', out='../own-again')" in card
    assert "maam.torch.load_model('.', model=net)" in card
    assert "maam predict . photo.jpg" in card and "maam evaluate .\n" in card
    page = (folder / "report.html").read_text()
    assert "model=net" in page and "maam evaluate" not in page and "maam explain" not in page
    config = (folder / "config.toml").read_text()
    assert 'model = "TinyNet (own)"' in config
    net = TinyNet()
    again = maam.train(recipe=folder / "config.toml", model=net, epochs=1, out=folder / "../again")
    assert again.scores["images"] == finished[0].scores["images"]


def test_the_folder_is_named_by_the_class():
    result = maam.train(model=TinyNet(), **{**QUICK, "epochs": 1, "limit": 64})
    assert result.run.as_posix() == "runs/digits-TinyNet"


def test_a_teacher_classes_that_weigh_and_what_is_frozen(tmp_path):
    teacher, _ = trained("mlp", tmp_path / "teacher", framework="torch", epochs=1)
    net = TinyNet()
    for parameter in net.body.parameters():
        parameter.requires_grad_(False)
    before = weights("torch", net)
    options = {"teacher": str(teacher.run), "freeze": "fc.bias", "class_weights": "auto"}
    result, _ = trained(net, tmp_path / "run", epochs=1, unknown_share=0, **options)
    after = weights("torch", net)
    fixed = [name for name in before if name.startswith("body") and "moving" not in name]
    assert fixed and all((before[name] == after[name]).all() for name in fixed)
    assert (before["fc.weight"] != after["fc.weight"]).any()
    count = sum(parameter.numel() for parameter in net.parameters())
    assert RunFolder(result.run).read_meta().parameters == count


def test_two_names_of_one_weight_are_averaged_once(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)
            self.second.weight = self.first.weight
            self.fc = nn.Linear(16, 10)

        def forward(self, x):
            return self.fc(self.second(self.first(x)).flatten(1))

    result, _ = trained(Tied(), tmp_path / "run", epochs=1, ema=0.9)
    kept, _ = load_tensors(result.run / "best.safetensors")
    assert (kept["first.weight"] == kept["second.weight"]).all()
    assert maam.evaluate(result.run, model=Tied())["accuracy"] == result.scores["accuracy"]


def test_synchronised_norms_are_saved_and_folded_as_plain_ones(tmp_path):
    net = nn.SyncBatchNorm.convert_sync_batchnorm(TinyNet())
    assert any(isinstance(layer, nn.SyncBatchNorm) for layer in net.modules())
    result = maam.train(model=net, out=tmp_path / "r", framework="torch", **QUICK)
    tensors = load_tensors(RunFolder(result.run).best)[0]
    assert tensors.keys() == maam.torch.get_weights(TinyNet()).keys()
    assert any(name.endswith("moving_mean") for name in tensors)
    images = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        expected = net.eval()(images)
        torch.testing.assert_close(maam.torch.fuse(net)(images), expected, atol=1e-5, rtol=1e-4)


def test_what_is_no_logit_is_not_calibrated(tmp_path):
    net = Plain(lambda logits: (100 * logits).log_softmax(1))  # far surer than right
    result, notes = trained(net, tmp_path / "run", learning_rate=1e-4)
    assert any(note.startswith("not calibrated") for note in notes)
    meta = RunFolder(result.run).read_meta()
    assert meta.calibration is None and meta.unknown
    assert "Plain (own): nothing in it folds" in notes
    assert maam.evaluate(result.run, model=net)["accuracy"] == result.scores["accuracy"]


def test_without_onnx_the_run_is_complete_but_for_predictions(tmp_path, capsys):
    def branch(logits):
        return logits * 2 if logits.sum() > 0 else logits * 3  # no ONNX has both

    result, notes = trained(Plain(branch), tmp_path / "run")
    (note,) = (note for note in notes if note.startswith("no model.onnx"))
    assert "\n" not in note and "can't be written as ONNX" in note
    assert not (result.run / "model.onnx").exists()
    meta = RunFolder(result.run).read_meta()
    assert meta.metrics and meta.export_error is None and not meta.deployed
    card = (result.run / "README.md").read_text()
    assert "none: it could not be written as ONNX" in card and "maam predict" not in card
    assert "maam predict" not in (result.run / "report.html").read_text()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "digit.png")
    assert run(["predict", str(result.run), str(tmp_path / "digit.png")]) == 2
    assert "could not be written as ONNX" in capsys.readouterr().err


def test_the_rest_can_be_chosen_for_it(tmp_path):
    rng = np.random.default_rng(0)
    for number, name in enumerate(("red", "green")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(20):
            pixels = rng.integers(0, 100, (40, 40, 3)).astype(np.uint8)
            pixels[:, :, number] += 100
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    events, net = [], TinyNet(2, 3)
    before = weights("torch", net)
    options = {"data": str(tmp_path / "photos"), "minutes": 1, "epochs": 1}
    maam.train(model=net, **options, out=tmp_path / "run", watch=events.append)
    (chosen,) = (event for event in events if isinstance(event, Choices))
    assert {"batch_size", "learning_rate"} <= {choice.option for choice in chosen.choices}
    assert not {"model", "pretrained"} & {choice.option for choice in chosen.choices}
    assert chosen.command.startswith("maam.train(model=net, data=")
    assert "minutes" not in chosen.command and "epochs=1" in chosen.command
    assert int(net.calls) < 3 + 2 + 40  # the steps that are timed are a copy's
    assert before.keys() == weights("torch", net).keys()


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda: TinyNet(9), {}, "gives (2, 9) for 2 images of 10 classes"),
        (lambda: nn.Conv2d(1, 10, 3), {}, "gives (2, 10, 6, 6)"),
        (lambda: Plain(lambda x: (x, x)), {}, "gives no tensor of floats"),
        (lambda: Plain(lambda x: x.argmax(1)), {}, "gives no tensor of floats"),
        (lambda: TinyNet(channels=3), {}, "fails on images of 1x8x8"),
        (lambda: TinyNet().double(), {}, "fails on images of 1x8x8"),
        (lambda: TinyNet().to("meta"), {}, "parameters on meta"),
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), {}, "lazy"),
        (lambda: nn.Flatten(), {}, "has no parameter to train"),
        (lambda: TinyNet, {}, "is the class TinyNet"),
        (lambda: 3, {}, "class int"),
        (TinyNet, {"framework": "mindspore"}, "is a network of PyTorch"),
        (TinyNet, {"pretrained": True}, "`pretrained`"),
        (TinyCell, {"framework": "torch"}, "is a network of MindSpore"),
        (lambda: TinyCell(9), {"mode": "eager"}, "gives (2, 9) for 2 images of 10 classes"),
        (lambda: cells.ReLU(), {"mode": "eager"}, "has no parameter to train"),
    ],
)
def test_a_wrong_network_is_refused_before_training(make, options, message, tmp_path):
    with pytest.raises(MaamError) as error:
        trained(make(), tmp_path / "run", **options)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_without_the_network_a_run_of_it_is_refused(finished, capsys, tmp_path):
    folder = finished[0].run
    missing = "TinyNet is a network of your own, whose code no run folder has"
    calls = (
        lambda: maam.evaluate(folder, framework="torch"),
        lambda: maam.torch.load_model(folder),
        lambda: maam.load_model(folder),
        lambda: maam.train(resume=folder),
        lambda: maam.train(recipe=folder / "config.toml", out=tmp_path / "again"),
        lambda: trained("mlp", tmp_path / "run", framework="torch", teacher=str(folder)),
        lambda: list(maam.explain(folder, [np.zeros((8, 8), np.uint8)])),
    )
    for call in calls:
        with pytest.raises(MaamError, match=missing):
            call()
    assert maam.evaluate(folder)["accuracy"] == finished[0].scores["accuracy"]  # its model.onnx
    for arguments in (
        ["evaluate", str(folder), "--framework", "torch"],
        ["train", "--resume", str(folder)],
    ):
        assert run(arguments) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and missing in lines[0]
    assert run(["fuse", str(folder)]) == 2


def test_another_network_is_refused_and_the_run_stays_as_it_is(finished):
    folder = finished[0].run
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    other = "holds the weights of another model"
    with pytest.raises(MaamError, match=other):
        maam.train(resume=folder, model=TinyNet(width=8), epochs=3)
    with pytest.raises(MaamError, match="`resume` can't change `model`"):
        maam.train(resume=folder, model=Plain(nn.Identity()), epochs=3)
    with pytest.raises(MaamError, match=other):
        maam.evaluate(folder, model=TinyNet(width=8))
    with pytest.raises(MaamError, match="is a network of PyTorch, not of MindSpore"):
        maam.load_model(folder, model=TinyNet())
    with pytest.raises(MaamError, match="is a network of MindSpore, not of PyTorch"):
        maam.torch.load_model(folder, model=TinyCell())
    with pytest.raises(MaamError, match="`model` is of the class str"):
        maam.evaluate(folder, model="maam")
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert json.loads((folder / "meta.json").read_text())["epochs"] == 2


@pytest.mark.parametrize("mode", ["graph", "eager"])
def test_mixed_precision_leaves_the_network_as_it_was(mode, tmp_path):
    net, events = TinyCell(), []
    quick = {**QUICK, "limit": 40, "epochs": 1, "batch_size": 20, "mode": mode}
    maam.train(
        model=net, **quick, precision="amp", ema=0.9, out=tmp_path / "run", watch=events.append
    )
    assert any("folds body.0 (MAAM)" in event.text for event in events if isinstance(event, Note))
    assert RunFolder(tmp_path / "run").is_finished()
    images = Tensor(np.zeros((1, 1, 8, 8), np.float32))
    assert net(images).dtype == ms.float32
    logits = maam.load_model(tmp_path / "run", model=net)[0](images).asnumpy()
    np.testing.assert_array_equal(net(images).asnumpy(), logits)


def test_kernels_of_three_dimensions_are_trained(tmp_path):
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv3d(1, 4, 3, padding=1), nn.Linear(4, 10)

        def forward(self, x):
            return self.fc(self.conv(x[:, :, None]).relu().mean((2, 3, 4)))

    result = maam.train(model=Deep(), **{**QUICK, "epochs": 1}, out=tmp_path / "run")
    assert RunFolder(result.run).is_finished()


@pytest.mark.parametrize("mode", ["graph", "eager"])
def test_parameters_in_tuples_are_trained_in_mixed_precision(mode, tmp_path):
    class Rows(cells.Cell):
        def __init__(self):
            super().__init__()
            self.rnn: Any = cells.LSTM(8, 6, batch_first=True)  # its weights lie in tuples
            self.fc: Any = cells.Dense(6, 10)

        def construct(self, x):
            return self.fc(self.rnn(x[:, 0])[0].mean(1))

    net = Rows()
    before = {each.name: each.asnumpy().copy() for each in net.get_parameters()}
    quick = {**QUICK, "limit": 40, "epochs": 1, "batch_size": 20, "mode": mode}
    maam.train(model=net, **quick, precision="amp", out=tmp_path / "run")
    moved = {p.name for p in net.get_parameters() if (p.asnumpy() != before[p.name]).any()}
    assert moved == before.keys()
