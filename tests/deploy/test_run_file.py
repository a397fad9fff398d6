"""The ONNX file of a run: whole, verified, and used alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import maam
import maam.torch
from maam import MaamError
from maam.cli.app import run
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors, save_tensors
from maam.data import load_dataset
from maam.deploy.classifier import Classifier
from maam.deploy.onnx import Network
from maam.deploy.onnx_writing import Computed, golden_path, write_model
from maam.models import list_models

OPTIONS = {"data": "digits", "model": "maamnet-nano", "limit": 128, "epochs": 1}


@pytest.fixture(scope="module", params=["torch", "mindspore"])
def finished(request, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("file") / "run"
    return maam.train(**OPTIONS, framework=request.param, out=out).run


@pytest.fixture
def photo(tmp_path) -> Path:
    test = load_dataset("digits").test
    pixels = test.pixels()[test.labels == 3][0, :, :, 0]
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).resize((61, 50), Image.Resampling.BICUBIC).save(path)
    return path


def test_the_file_says_what_it_is(finished):
    model = onnx.load(str(finished / "model.onnx"))
    said = {entry.key: entry.value for entry in model.metadata_props}
    meta = RunFolder(finished).read_meta()
    assert meta.metrics and meta.export_error is not None and meta.export_error < 1e-4
    assert json.loads(said["classes"]) == list(meta.classes)
    assert said["model"] == "maamnet-nano"
    assert said["accuracy"] == f"{meta.metrics['accuracy']:.4f} on 359 test images"
    assert "bicubic (a = -0.5), antialiased" in said["preprocessing"]
    assert re.fullmatch("[0-9a-f]{64}", said["weights.sha256"])
    assert "licence" in said["licence"]
    assert model.ir_version <= 9 and all(each.version <= 19 for each in model.opset_import)
    ((image,), outputs) = model.graph.input, model.graph.output
    assert (image.name, [each.name for each in outputs]) == ("image", ["probabilities", "logits"])
    assert str(finished) not in (finished / "model.onnx").read_bytes().decode("latin-1")


def test_the_golden_images_have_their_logits(finished):
    golden, about = load_tensors(finished / "model.golden.safetensors")
    assert golden["images"].shape == (8, 8, 8, 3) and golden["images"].dtype == np.uint8
    network = Network(finished / "model.onnx")
    np.testing.assert_allclose(network(golden["images"]), golden["logits"], atol=1e-4)
    found = network.probabilities(golden["images"])
    np.testing.assert_allclose(found, golden["probabilities"], atol=1e-4)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert about["classes"] == [str(digit) for digit in range(10)]


def test_the_file_alone_predicts_and_is_scored_as_the_run(finished, photo, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    file = Path(shutil.copy(finished / "model.onnx", tmp_path / "elsewhere" / "digits.onnx"))
    (alone,), (folder,) = maam.predict(file, photo), maam.predict(finished, photo)
    assert alone == folder and alone.error is None
    scores = maam.evaluate(file, data="digits")
    assert scores["accuracy"] == maam.evaluate(finished)["accuracy"]
    framework = RunFolder(finished).read_meta().framework
    assert scores["accuracy"] == maam.evaluate(finished, framework=framework)["accuracy"]
    assert maam.evaluate(file)["images"] == 359  # a data set with a name is known
    assert run(["predict", str(file), str(photo)]) == 0
    assert run(["evaluate", str(file), "--data", "digits", "--framework", "torch"]) == 2
    assert run(["evaluate", str(file), "--data", "digits", "--device", "CUDA"]) == 2
    assert run(["explain", str(file), str(photo)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "which ONNX Runtime scores" in said[0] and "--device CUDA" in said[1]
    assert "is a file, not a folder" in said[2]


def test_the_network_inside_sees_what_maam_prepares(finished, photo):
    classifier = Classifier.load(finished)
    pixels = np.asarray(Image.open(photo).convert("RGB"))[None]
    found = Network(finished / "model.onnx").probabilities(pixels)
    np.testing.assert_allclose(found, classifier.classify([photo]), atol=1e-5)


def test_the_cards_program_runs(finished, photo, capsys, monkeypatch):
    card = (finished / "README.md").read_text()
    (program,) = re.findall(r"```python\n(import json.*?)```", card, re.DOTALL)
    assert len(program.strip().splitlines()) <= 11
    monkeypatch.chdir(photo.parent)
    shutil.copy(finished / "model.onnx", "model.onnx")
    Image.open(photo).save("photo.jpg", "PNG")  # a JPEG is decoded smaller by maam
    exec(program, {})
    name, probability = capsys.readouterr().out.split()
    (answer,) = maam.predict(finished, "photo.jpg")
    assert answer.classes[0] == name
    assert answer.probabilities[0] == pytest.approx(float(probability), abs=1e-4)
    (classes,) = re.findall(r"```json\n(.*?)\n```", card)
    assert json.loads(classes) == [str(digit) for digit in range(10)]


def damaged(content: bytes, flips: int, cuts: int):
    rng = np.random.default_rng(0)
    for place in rng.choice(8 * len(content), flips, replace=False).tolist():
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        yield bytes(changed)
    for length in rng.choice(len(content), cuts, replace=False).tolist():
        yield content[:length]


def check_damage(finished, tmp_path, photo, capsys, flips, cuts):
    content = (finished / "model.onnx").read_bytes()
    folder = Path(shutil.copytree(finished, tmp_path / "copy"))
    for number, bad in enumerate(damaged(content, flips, cuts)):
        (folder / "model.onnx").write_bytes(bad)
        target = folder if number % 2 else folder / "model.onnx"
        assert run(["predict", str(target), str(photo)]) == 2
        printed, said = capsys.readouterr()
        assert not printed and said.count("\n") == 1, said
        assert "model.onnx" in said and "damaged" in said


def test_damage_is_noticed(finished, tmp_path, photo, capsys):
    check_damage(finished, tmp_path, photo, capsys, 12, 6)


@pytest.mark.slow
def test_much_damage_is_noticed(finished, tmp_path, photo, capsys):
    check_damage(finished, tmp_path, photo, capsys, 500, 100)


def test_each_bit_of_the_checksum_counts(finished, tmp_path):
    content = (finished / "model.onnx").read_bytes()
    for place in range(8 * (len(content) - 145), 8 * len(content), 37):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(MaamError, match="damaged"):
            Network(bytes(changed))


def test_two_files_of_two_runs_do_not_mix(finished, tmp_path):
    folder = RunFolder(Path(shutil.copytree(finished, tmp_path / "copy")))
    folder.write_meta(replace(folder.read_meta(), classes=tuple("abcdefghij")))
    with pytest.raises(MaamError, match="other classes or another preprocessing"):
        Classifier.load(folder.path)


def test_a_file_that_computes_something_else_is_not_left(tmp_path):
    """Weights of one layer are changed between export and comparison."""
    net, meta = maam.torch.load_model("maamnet-nano")
    net = maam.torch.fuse(net)
    images = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    maam.torch.export_onnx(net, (3, 32, 32), tmp_path / "bare.onnx")
    weights = maam.torch.get_weights(net)
    name = "blocks.2.reduce.conv.weight"
    maam.torch.set_weights(net, {**weights, name: weights[name] * 1.5}, "changed")

    def logits(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return net(torch.from_numpy(pixels)).numpy()

    computed = Computed(logits, lambda x: maam.torch.layer_outputs(net, x), weights)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"an older one")
    bare = (tmp_path / "bare.onnx").read_bytes()
    meta = replace(meta, shipped=False)
    with pytest.raises(
        MaamError, match=r"the first layer that parts is blocks\.2\.reduce"
    ) as caught:
        write_model(bare, computed, meta, images, path)
    assert "\n" not in str(caught.value)
    assert not path.exists() and not golden_path(path).exists()


@pytest.mark.slow
@pytest.mark.parametrize("model", list_models())
@pytest.mark.parametrize("framework", ["torch", "mindspore"])
def test_every_model_is_written(model, framework, tmp_path):
    backend = getattr(maam, framework)
    net = backend.create_model(model, 10, 1, (8, 8))
    net = net.eval() if framework == "torch" else net.set_train(False)
    images = load_dataset("digits").test.pixels()[:256]
    meta = RunFolder(Path(maam.models.weights.__file__).parent / "maamnet-nano").read_meta()
    how = {"size": [8, 8], "channels": 1, "mean": [0.3], "std": [0.4]}
    meta = replace(meta, model=model, preprocessing=how, shipped=False)
    path = tmp_path / "model.onnx"
    assert backend.export_model(backend.fuse(net), meta, images, path, net) < 1e-4
    assert Classifier.load(path).classes == meta.classes


def test_export_copies_the_file_with_its_golden_images(finished, tmp_path, capsys):
    out = tmp_path / "out.onnx"
    assert run(["export", str(finished), "--out", str(out)]) == 0
    assert out.read_bytes() == (finished / "model.onnx").read_bytes()
    assert golden_path(out).read_bytes() == RunFolder(finished).golden.read_bytes()
    capsys.readouterr()
    assert run(["export", str(finished), "--out", str(out)]) == 2
    assert (
        run(["export", str(finished), "--out", str(tmp_path / "i.onnx"), "--precision", "int8"])
        == 2
    )
    assert run(["export", str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "exists already: delete it, or name another with --out" in said[0]
    assert "maam quantize" in said[1] and "is no run folder" in said[2]


def test_an_export_leaves_what_is_there_and_nothing_half(finished, tmp_path, capsys):
    folder = RunFolder(Path(shutil.copytree(finished, tmp_path / "run")))
    out, precious = tmp_path / "out.onnx", tmp_path / "out.golden.safetensors"
    precious.write_text("precious")
    assert run(["export", str(folder), "--out", str(out)]) == 2
    assert precious.read_text() == "precious" and not out.exists()
    precious.unlink()
    for damaged in (b"", folder.golden.read_bytes()[:-9]):
        folder.golden.write_bytes(damaged)
        assert run(["export", str(folder), "--out", str(out)]) == 2
        assert os.listdir(tmp_path) == ["run"]
    said = capsys.readouterr().err.splitlines()
    assert f"{precious.name} exists already" in said[0].replace("\n", "")
    assert all(f"{folder.golden} is damaged" in line for line in said[1:]) and len(said) == 3
    save_tensors(folder.golden, {"others": np.zeros(3)}, {})  # whole, but no images
    assert run(["export", str(folder), "--format", "c", "--out", str(tmp_path / "c")]) == 0
    assert "random images" in (tmp_path / "c" / "README.md").read_text()
    assert run(["export", "maamnet-nano", "--out", str(tmp_path / "new" / "out.onnx")]) == 0


def test_a_run_of_an_older_version_predicts_and_is_exported_anew(finished, photo, tmp_path, capsys):
    folder = RunFolder(Path(shutil.copytree(finished, tmp_path / "old")))
    framework = folder.read_meta().framework
    backend = getattr(maam, framework)
    net, meta = backend.load_model(folder.path)
    for file in (folder.model, folder.golden):
        file.unlink()
    backend.export_onnx(backend.fuse(net), meta.image_shape, folder.model)
    (old,), (new,) = maam.predict(folder.path, photo), maam.predict(finished, photo)
    assert old.classes == new.classes
    np.testing.assert_allclose(old.probabilities, new.probabilities, atol=1e-5)
    assert maam.evaluate(folder.path)["accuracy"] == maam.evaluate(finished)["accuracy"]
    with pytest.raises(MaamError, match="is a bare network"):
        maam.predict(folder.model, photo)
    written = maam.export(folder.path, out=tmp_path / "new.onnx")
    (again,) = maam.predict(written.path, photo)
    assert again.classes == new.classes and golden_path(written.path).exists()


def test_a_training_that_has_not_ended_is_not_exported(finished, tmp_path):
    folder = RunFolder(Path(shutil.copytree(finished, tmp_path / "half")))
    folder.write_meta(replace(folder.read_meta(), metrics=None))
    folder.model.unlink()
    with pytest.raises(MaamError, match="is not finished: `maam train --resume"):
        maam.export(folder.path)


def test_a_folder_of_runs_is_not_classified(finished, photo, capsys):
    assert run(["predict", str(finished.parent), str(photo)]) == 2
    said = capsys.readouterr().err
    assert f"holds run folders: name one of them, such as {finished}" in said
    assert run(["predict", str(photo), str(finished)]) == 2
    said = capsys.readouterr()
    assert said.err == f"maam: {finished} is a run folder: name it first, then the images\n"
    assert said.out == ""
    found = list(maam.predict(finished, [finished, photo.parent]))
    assert found[0].error == "a run folder, whose pictures are plots: name images"
    shutil.copytree(finished, photo.parent / "run")
    assert [each.file for each in maam.predict(finished, photo.parent)] == [str(photo)]


def test_onnx_runtime_tells_no_one(finished, photo, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_"))}
    program = (
        "import os, sys, maam\n"
        "print(len(list(maam.predict(*sys.argv[1:]))), os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(finished), str(photo)],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, "HOME": str(home), "TMPDIR": str(home)},
    )
    assert done.stdout == "1 1\n", done.stderr
    assert [path for path in home.rglob("*") if path.is_file()] == []
