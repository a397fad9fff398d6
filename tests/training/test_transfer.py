"""Shipped weights by name: to predict, to score, and to begin a training with."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import maam
import maam.torch
from maam import MaamError
from maam.cli.app import run
from maam.core.config import TrainConfig
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors, save_tensors
from maam.data.preprocessing import Preprocessing
from maam.models import weights as shipped
from maam.training.distillation import describe_teacher
from maam.training.events import Note, Step
from maam.training.options import resolve
from maam.training.transfer import SEEN, adapt_preprocessing, adapt_weights, rests_on, take_weights

QUICK: dict[str, Any] = {
    "data": "digits",
    "model": "maamnet-nano",
    "limit": 64,
    "epochs": 1,
    "batch_size": 32,
    "framework": "torch",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder of shipped weights: those of a run on digits, in float16 and without digests."""
    folder = tmp_path_factory.mktemp("weights")
    run = maam.train(**QUICK, normalize="standard", out=folder / "maamnet-nano").run
    made = RunFolder(run)
    tensors, metadata = load_tensors(made.best)
    small = {name: a.astype(np.float16) if a.ndim > 1 else a for name, a in tensors.items()}
    save_tensors(made.best, small, metadata)
    made.write_meta(replace(made.read_meta(), data_digests={}, shipped=True))
    return folder


@pytest.fixture(autouse=True)
def _shipped(weights, monkeypatch):
    monkeypatch.setattr(shipped, "WEIGHTS", weights)
    monkeypatch.setattr(shipped, "DEFAULT", "maamnet-nano")


def test_a_name_stands_for_a_run_folder(weights, tmp_path):
    assert shipped.shipped() == ["maamnet-nano"]
    assert shipped.find_run("maamnet-nano").path == weights / "maamnet-nano"
    assert shipped.find_run("runs/mine").path.as_posix() == "runs/mine"
    (tmp_path / "maamnet-nano").mkdir()  # a folder here goes first
    assert shipped.find_run("maamnet-nano").path.as_posix() == "maamnet-nano"


def test_shipped_models_predict_and_are_scored():
    image = np.zeros((9, 7), np.uint8)
    (prediction,) = maam.predict("maamnet-nano", [image])
    assert len(prediction.classes) == 3
    scores = maam.evaluate("maamnet-nano", data="digits")
    assert scores["model"] == "maamnet-nano"
    assert scores["split"] == "test"


@pytest.mark.parametrize("framework", [pytest.param("mindspore", marks=pytest.mark.slow), "torch"])
def test_a_training_begins_with_them(weights, framework, tmp_path):
    options = {"pretrained": True, "framework": framework, "learning_rate": 1e-9}
    result = maam.train(**QUICK | options, freeze="stem.*,blocks.*", out=tmp_path / "run")
    before, _ = load_tensors(RunFolder(weights / "maamnet-nano").best)
    after, _ = load_tensors(RunFolder(result.run).best)
    for name, array in before.items():
        if name.startswith("classifier."):
            continue
        np.testing.assert_array_equal(after[name], array.astype(np.float32), err_msg=name)
    given = RunFolder(weights / "maamnet-nano").read_meta().preprocessing
    assert RunFolder(result.run).read_meta().preprocessing == given
    assert "pretrained = true" in (result.run / "config.toml").read_text()
    card = (result.run / "README.md").read_text()
    assert "trained on digits, from the shipped weights of maamnet-nano" in card


def test_a_training_cut_in_its_first_epoch_has_them_still(weights, tmp_path):
    options: dict[str, Any] = {**QUICK, "pretrained": True, "freeze": "stem.*,blocks.*"}

    def watch(event):
        if isinstance(event, Step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        maam.train(**options, out=tmp_path / "run", watch=watch)
    assert not RunFolder(tmp_path / "run").last.exists()
    maam.train(resume=tmp_path / "run")
    before, _ = load_tensors(RunFolder(weights / "maamnet-nano").best)
    after, _ = load_tensors(RunFolder(tmp_path / "run").best)
    stem = before["stem.conv.weight"].astype(np.float32)
    np.testing.assert_array_equal(after["stem.conv.weight"], stem)


def test_the_last_layer_is_new_for_new_classes(weights):
    net = maam.torch.create_model("maamnet-nano", 10, 1, (8, 8))
    source = RunFolder(weights / "maamnet-nano")
    known = source.read_meta()
    ours = Preprocessing.from_dict(known.preprocessing)
    fresh = maam.torch.get_weights(net)["classifier.weight"]
    new = [f"class {number}" for number in range(10)]
    take_weights(maam.torch, net, "maamnet-nano", source, ours, new)
    np.testing.assert_array_equal(maam.torch.get_weights(net)["classifier.weight"], fresh)
    take_weights(maam.torch, net, "maamnet-nano", source, ours, known.classes)
    assert (maam.torch.get_weights(net)["classifier.weight"] != fresh).any()


def test_weights_fit_other_classes_and_colours(rng):
    trained = {
        "stem.conv.weight": rng.random((4, 3, 3, 3)).astype(np.float16),
        "norm.gamma": rng.random(4).astype(np.float32),
        "classifier.weight": rng.random((10, 4)).astype(np.float16),
    }
    fresh = {
        "stem.conv.weight": np.zeros((4, 1, 3, 3), np.float32),
        "norm.gamma": np.zeros(4, np.float32),
        "classifier.weight": np.full((7, 4), 2, np.float32),
    }
    head = {"classifier.weight"}
    assert (adapt_weights(trained, trained, head, "here")["classifier.weight"] < 1).all()
    with pytest.raises(MaamError, match=r"another model: classifier\.weight differs"):
        adapt_weights(fresh, trained, head, "here")
    del trained["classifier.weight"]
    grey = adapt_weights(fresh, trained, head, "here")
    summed = trained["stem.conv.weight"].astype(np.float32).sum(1, keepdims=True)
    np.testing.assert_array_equal(grey["stem.conv.weight"], summed)
    assert (grey["norm.gamma"] == trained["norm.gamma"]).all()
    assert (grey["classifier.weight"] == 2).all()
    # A grey image in three channels gives what it gives in one.
    colour = {**fresh, "stem.conv.weight": np.zeros((4, 3, 3, 3), np.float32)}
    three = adapt_weights(colour, grey, head, "here")
    np.testing.assert_allclose(three["stem.conv.weight"].sum(1, keepdims=True), summed, rtol=1e-6)
    with pytest.raises(MaamError, match=r"another model: norm\.gamma differs"):
        adapt_weights({**fresh, "norm.gamma": np.zeros(5, np.float32)}, trained, head, "here")
    with pytest.raises(MaamError, match=r"another model: norm\.beta is no part of it"):
        adapt_weights(fresh, {**trained, "norm.beta": trained["norm.gamma"]}, head, "here")
    with pytest.raises(MaamError, match=r"another model: stem\.conv\.weight differs"):
        adapt_weights({**fresh, "stem.conv.weight": np.zeros((4, 2, 3, 3))}, trained, head, "here")


@pytest.mark.slow
def test_images_that_the_weights_were_learned_from_do_not_validate_them(weights, tmp_path):
    notes = []

    def watch(event):
        if isinstance(event, Note):
            notes.append(event.text)

    for fraction in (0.1, 0.0):
        options: dict[str, Any] = {**QUICK, "pretrained": True, "val_fraction": fraction}
        maam.train(**options, out=tmp_path / str(fraction), watch=watch)
    assert [text for text in notes if "may have learned the validation images" in text] == [SEEN]


@pytest.mark.slow
def test_a_teacher_passes_on_what_it_has_seen(weights, tmp_path):
    teacher = maam.train(**QUICK, pretrained=True, out=tmp_path / "teacher").run
    networks = rests_on(TrainConfig(data="digits", teacher=str(teacher)))
    first = RunFolder(weights / "maamnet-nano").read_meta()
    meta = RunFolder(teacher).read_meta()
    assert [each["data_digests"] for each in networks] == [meta.data_digests, first.data_digests]
    assert [each["data"] for each in networks] == ["digits", "digits"]
    assert rests_on(TrainConfig(data="digits", model="cnn")) == []
    note = describe_teacher(str(teacher), first.classes, (8, 8, 1))
    student = RunFolder(tmp_path / "student")
    student.path.mkdir()
    student.write_meta(replace(meta, teacher=note))
    further = rests_on(TrainConfig(data="digits", teacher=str(student)))
    assert further[1:] == [networks[1], note, networks[1]]


def test_their_normalisation_is_not_overruled():
    assert resolve({**QUICK, "pretrained": True}).normalize == "standard"
    with pytest.raises(MaamError, match="`normalize=unit`: `pretrained` has its own"):
        resolve({**QUICK, "pretrained": True, "normalize": "unit"})


def test_grey_images_take_the_mean_of_the_colours():
    colour = Preprocessing((32, 32), 3, (0.1, 0.2, 0.3), (0.2, 0.3, 0.4))
    assert adapt_preprocessing(colour, (28, 28), 1) == Preprocessing((28, 28), 1, (0.2,), (0.3,))
    same = adapt_preprocessing(colour, (64, 64), 3)
    assert same == Preprocessing((64, 64), 3, colour.mean, colour.std)


def test_what_is_not_shipped_says_what_is(tmp_path, weights):
    for data in ("digits", "cifar10"):  # known before the images are looked for
        with pytest.raises(MaamError, match="no weights of 'cnn' come with maam"):
            options: dict[str, Any] = {**QUICK, "model": "cnn", "data": data}
            maam.train(**options, pretrained=True, data_dir=tmp_path, out=tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["digits-cmn", "runs/none"])
def test_a_mistyped_run_is_not_answered_by_another_network(name, capsys):
    assert run(["predict", name, "photo.png"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_without_a_run_the_shipped_model_answers(tmp_path, capsys):
    Image.new("L", (9, 7)).save(tmp_path / "photo.png")
    assert run(["predict", "photo.png", "--format", "csv"]) == 0
    assert run(["predict", "maamnet-nano", "photo.png", "--format", "csv"]) == 0
    first, second = capsys.readouterr().out.split("file,")[1:]
    assert first == second
    assert run(["evaluate", "--model", "maamnet-nano", "--data", "digits"]) == 0
    assert run(["evaluate", "--model", "cnn"]) == 2


def test_an_image_that_is_not_there_is_skipped_wherever_it_stands(capsys):
    Image.new("L", (9, 7)).save("photo.png")
    for names in (["photo.png", "foto.png"], ["foto.png", "photo.png"]):
        assert run(["predict", *names, "--format", "jsonl"]) == 1
        captured = capsys.readouterr()
        assert captured.out.count('"class"') >= 1
        assert "foto.png" in captured.out + captured.err


def test_a_run_folder_without_its_meta_is_not_answered_by_another_network(tmp_path, capsys):
    Image.new("L", (9, 7)).save("photo.png")
    (tmp_path / "deployed").mkdir()
    (tmp_path / "deployed" / "model.onnx").write_bytes(b"")
    assert run(["predict", str(tmp_path / "deployed"), "photo.png"]) == 2
    assert "is not a run folder" in capsys.readouterr().err


def test_a_training_begins_with_a_run_of_ones_own(weights, tmp_path):
    mine = weights / "maamnet-nano"
    shutil.copytree(mine, tmp_path / "mine")
    known = RunFolder(mine).read_meta()
    RunFolder(tmp_path / "mine").write_meta(replace(known, shipped=False, data="elsewhere"))
    options = {key: value for key, value in QUICK.items() if key != "model"}
    frozen: dict[str, Any] = {"freeze": "stem.*,blocks.*", "learning_rate": 1e-9}
    result = maam.train(**options, **frozen, weights="mine", out=tmp_path / "run")
    meta = RunFolder(result.run).read_meta()
    assert meta.model == "maamnet-nano" and meta.preprocessing == known.preprocessing
    assert meta.config["weights"] == str(tmp_path / "mine") and meta.config["pretrained"] is True
    assert meta.start is not None and meta.start["run"] == "mine" and "kept" not in meta.start
    before, after = (load_tensors(RunFolder(each).best)[0] for each in (mine, result.run))
    name = "blocks.3.reduce.conv.weight"
    np.testing.assert_array_equal(after[name], before[name].astype(np.float32))
    assert "from the weights of the run mine, and knows" in (result.run / "README.md").read_text()
    # What it has seen is known, of this run and of those that learn from it.
    images = RunFolder(tmp_path / "mine").read_images()
    taught = RunFolder(result.run).read_images()["teacher"]
    np.testing.assert_array_equal(taught, np.union1d(images["train"], images["val"]))
    named = str(result.run)
    for config in (
        TrainConfig(data="digits", model="maamnet-nano", teacher=named),
        TrainConfig(data="digits", model="maamnet-nano", weights=named, pretrained=True),
    ):
        networks = rests_on(config)
        assert [each["data"] for each in networks] == ["digits", "elsewhere"]
    resumed = maam.train(resume=result.run, epochs=2)
    assert len(resumed.history) == 2
    best = RunFolder(tmp_path / "mine").best
    best.write_bytes(RunFolder(result.run).best.read_bytes())
    with pytest.raises(MaamError, match="`weights` is not what it began with"):
        maam.train(resume=result.run, epochs=3)


def test_weights_that_a_model_cannot_begin_with(weights, tmp_path):
    source = str(weights / "maamnet-nano")

    def says(**options: Any) -> str:
        with pytest.raises(MaamError) as caught:
            maam.train(**{**QUICK, **options}, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return str(caught.value)

    wrong = "`weights=cifar` is neither cifar10 nor tiny-imagenet nor a run folder"
    assert wrong in says(weights="cifar") and wrong in says(weights="cifar", model="auto")
    assert "holds maamnet-nano, with which cnn can't begin" in says(weights=source, model="cnn")
    for other in ("maamnet-tiny", "maamnet-16x1-32x5-136x3", "maamnet-16x1-32x5-64x2"):
        assert f"with which {other} can't begin" in says(weights=source, model=other)
    folder = RunFolder(tmp_path / "mine")
    shutil.copytree(source, folder.path)
    meta = folder.read_meta()
    folder.write_meta(replace(meta, fused=True))
    assert "is folded: name the run that it was made from" in says(weights="mine")
    folder.write_meta(replace(meta, model="Net (own)"))
    assert "is a network of your own" in says(weights="mine")
    folder.write_meta(replace(meta, model="maamnet-tiny"))
    narrow = "maamnet-24x3-48x6-96x4"
    assert "holds the weights of another model" in says(weights="mine", model=narrow)
    folder.write_meta(meta)
    folder.best.unlink()
    assert "best.safetensors" in says(weights="mine")
