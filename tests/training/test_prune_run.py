"""``maam prune``: a smaller run that was measured, or none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import maam
from maam import MaamError
from maam.cli.app import run as command
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors
from maam.deploy.folding import fuse_run
from maam.training import prune_run
from maam.training.events import Plan
from maam.training.prune_report import PruneReport

MODEL, SMALLER = "maamnet-16x1-32x1", "maamnet-8x1-16x1"
OPTIONS: dict[str, Any] = {"data": "digits", "framework": "torch", "limit": 400, "batch_size": 16}
QUICK: dict[str, Any] = {"epochs": 1, "max_drop": 100}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prune") / "digits"
    maam.train(**OPTIONS, model=MODEL, epochs=5, learning_rate=5e-3, out=folder)
    return folder


@pytest.fixture(scope="module")
def report(trained) -> PruneReport:
    return maam.prune(trained, epochs=3, learning_rate=5e-3, max_drop=100)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_new_run_is_what_the_report_says(trained, report):
    folder = RunFolder(trained.with_name("digits-pruned"))
    assert report.out == str(folder) and folder.is_finished()
    meta, source = folder.read_meta(), RunFolder(trained).read_meta()
    assert meta.model == report.after.model == SMALLER and report.before.model == MODEL
    assert json.loads(folder.pruning.read_text()) == report.to_dict()
    assert report.kept == report.keep == 0.5 and report.epochs == 3
    for network, run in ((report.before, trained), (report.after, folder.path)):
        scores = maam.evaluate(run, framework="onnx")
        assert (scores["accuracy"], scores["images"]) == (network.accuracy, report.images)
        deployed = RunFolder(run).read_meta().deployed
        assert deployed == {"parameters": network.parameters, "macs": network.macs}
        assert network.onnx_bytes == RunFolder(run).model.stat().st_size
        assert network.latency_ms > 0
    lost = report.before.accuracy - report.after.accuracy
    assert report.drop == pytest.approx(100 * lost, abs=1e-5)
    assert report.after.accuracy > 0.5  # chance is 0.1
    assert 0.5 < report.same_answers <= 1
    assert report.after.macs < 0.5 * report.before.macs
    # The same images, prepared and split the same way.
    assert meta.preprocessing == source.preprocessing and meta.data_digests == source.data_digests
    assert meta.teacher is not None and meta.teacher["model"] == MODEL
    assert meta.start is not None and (meta.start["run"], meta.start["kept"]) == ("digits", 0.5)
    assert meta.start["weights"] == meta.teacher["weights"]


def test_its_card_says_where_it_comes_from(report):
    card = (Path(report.out) / "README.md").read_text()
    words = "from the weights of the run digits (a maamnet-16x1-32x1, pruned: 50.0% of its channels"
    assert words in card and "and the answers of a maamnet-16x1-32x1" in card
    assert "the shipped weights" not in card


def test_it_begins_with_the_channels_of_the_run(trained, report, tmp_path):
    options = {"learning_rate": 1e-9, "out": tmp_path / "small", **QUICK}
    maam.prune(trained, **options)
    narrow, _ = load_tensors(RunFolder(tmp_path / "small").best)
    wide, _ = load_tensors(RunFolder(trained).best)
    kept = narrow["blocks.1.layer.norm.gamma"]
    rows = [int(np.abs(wide["blocks.1.layer.norm.gamma"] - value).argmin()) for value in kept]
    assert rows == sorted(rows) and len(set(rows)) == 8
    np.testing.assert_allclose(
        narrow["blocks.1.layer.agents.taps"], wide["blocks.1.layer.agents.taps"][rows], atol=1e-6
    )
    # As the card says, its options alone repeat it.
    recipe = RunFolder(tmp_path / "small").config
    maam.train(recipe=recipe, out=tmp_path / "again")
    again, _ = load_tensors(RunFolder(tmp_path / "again").best)
    assert all(np.array_equal(again[name], array) for name, array in narrow.items())


def test_it_deploys_like_any_run(trained, report, tmp_path):
    run = tmp_path / "small"
    shutil.copytree(report.out, run)
    pixels = maam.load_dataset("digits").test.pixels()[:20]
    assert len(list(maam.predict(run, list(pixels)))) == 20
    folded, _ = fuse_run(run, tmp_path / "folded")
    images = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
    nets = [maam.torch.load_model(each)[0] for each in (run, folded)]
    logits = [maam.torch.inference(net)(images) for net in nets]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-4)
    with pytest.raises(MaamError, match="is folded: name the run that it was made from"):
        maam.prune(folded)
    quantized = maam.quantize(run, images=200, max_drop=100)
    assert quantized.same_answers > 0.8
    for form in ("c", "html"):
        assert maam.export(run, format=form, out=tmp_path / f"as-{form}").path.exists()
    with pytest.raises(MaamError, match=f"leaves all channels of {SMALLER}"):
        maam.prune(run, keep=0.9)


@pytest.mark.slow
def test_the_other_framework_prunes_it_too(trained, tmp_path):
    out = tmp_path / "small"
    report = maam.prune(trained, framework="mindspore", out=out, **QUICK)
    assert report.after.model == SMALLER
    assert RunFolder(out).read_meta().framework == "mindspore"


def test_the_command_prints_and_writes_the_same(trained, report, capsys):
    before = contents(trained)
    arguments = ["--epochs", "1", "--max-drop", "100", "--out", "small", "--json", "a.json"]
    assert command(["prune", str(trained), *arguments]) == 0
    text = capsys.readouterr().out
    written = json.loads(Path("a.json").read_text())
    assert written == json.loads(Path("small/prune.json").read_text())
    for part in (f"{report.before.accuracy:.2%}", SMALLER, "before", "the same class", "50.0%"):
        assert part in text
    assert contents(trained) == before
    assert command(["evaluate", "small"]) == 0


def test_too_much_is_lost(trained, capsys):
    before = contents(trained)
    arguments = ["--keep", "0.1", "--epochs", "1", "--learning-rate", "1e-9", "--max-drop", "0.5"]
    assert command(["prune", str(trained), *arguments, "--out", "small", "--json", "a.json"]) == 1
    captured = capsys.readouterr()
    assert "more than --max-drop 0.5: nothing was written" in captured.err
    assert "keep more than --keep 0.1" in captured.err and captured.err.count("\n") == 1
    assert "Accuracy" in captured.out
    assert json.loads(Path("a.json").read_text())["drop"] > 0.5
    assert not Path("small").exists() and contents(trained) == before


class Cut(Exception):
    """Stands for a power cut."""


def test_nothing_is_left_where_training_ends_early(trained, tmp_path):
    def watch(event):
        if not isinstance(event, Plan):
            raise Cut

    with pytest.raises(Cut):
        maam.prune(trained, watch=watch, out=tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_a_folder_that_another_process_has_made_meanwhile_stays(trained, tmp_path, monkeypatch):
    out = tmp_path / "small"
    answers = prune_run._answers

    def meanwhile(*given):
        RunFolder(out).path.mkdir()
        (out / "last.safetensors").write_bytes(b"of another training")
        return answers(*given)

    monkeypatch.setattr(prune_run, "_answers", meanwhile)
    with pytest.raises(MaamError, match="small exists already: name another folder with `out`"):
        maam.prune(trained, out=out, **QUICK)
    assert contents(out) == {str(out / "last.safetensors"): b"of another training"}


def test_trained_further_it_is_another_network(report, tmp_path):
    shutil.copytree(report.out, tmp_path / "small")
    folder = RunFolder(tmp_path / "small")
    assert folder.pruning.exists()
    maam.train(resume=folder.path, epochs=4)
    assert folder.is_finished() and not folder.pruning.exists()


def test_images_that_have_moved(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for number, name in enumerate(("dark", "light")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(40):
            pixels = rng.integers(120 * number, 120 * number + 100, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    run, photos = tmp_path / "run", str(tmp_path / "photos")
    options: dict[str, Any] = {"model": MODEL, "framework": "torch", "epochs": 2}
    maam.train(data=photos, image_size=8, **options, out=run)
    moved = (tmp_path / "photos").rename(tmp_path / "moved")
    assert command(["prune", str(run)]) == 2
    assert "photos" in capsys.readouterr().err
    report = maam.prune(run, data=moved, out=tmp_path / "small", **QUICK)
    assert report.images == RunFolder(run).read_meta().images["test"]
    for path in (moved / "dark").glob("1*.png"):
        path.unlink()
    with pytest.raises(MaamError, match="these are not the images of"):
        maam.prune(run, data=moved, out=tmp_path / "other", **QUICK)
    assert not (tmp_path / "other").exists()


def test_errors_are_one_line(trained, tmp_path, capsys):
    copied = tmp_path / "copy"
    shutil.copytree(trained, copied)

    def says(*arguments: str) -> str:
        before = contents(tmp_path)
        assert command(["prune", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and error.startswith("maam: ")
        assert contents(tmp_path) == before
        return error

    name, folder = str(copied), RunFolder(copied)
    assert "RUN" in says()
    assert "is not a run folder" in says(str(tmp_path / "nowhere"))
    assert "--keep: " in says(name, "--keep", "0")
    assert "--keep: " in says(name, "--keep", "1.5")
    assert "--keep: " in says(name, "--keep", "nan")
    assert "--keep 1 leaves all channels of maamnet-16x1-32x1" in says(name, "--keep", "1")
    assert "--epochs: " in says(name, "--epochs", "0")
    assert "exists already: name another folder with --out" in says(name, "--out", name)
    (tmp_path / "file").write_text("")
    assert "exists already" in says(name, "--out", str(tmp_path / "file"))
    assert "cannot make the folder" in says(name, "--out", str(tmp_path / "new" / ("n" * 300)))
    assert "cannot make the folder" in says(name, "--out", str(tmp_path / ("n" * 300) / "small"))
    assert "no such folder or archive" in says(name, "--data", "nowhere")
    meta = json.loads(folder.meta.read_text())
    folder.meta.write_text(json.dumps({**meta, "metrics": None}))
    assert f"is not finished: end it with `maam train --resume {name}`" in says(name)
    folder.meta.write_text(json.dumps({**meta, "model": "cnn"}))
    assert "holds cnn, whose channels can't be removed" in says(name)
    folder.meta.write_text(json.dumps({**meta, "model": "Net (own)"}))
    assert "whose channels can't be removed" in says(name)
    folder.meta.write_text(json.dumps({**meta, "model": "maamnet-8x1-0x1"}))
    assert "can't have 0 channels" in says(name)
    folder.meta.write_text(json.dumps(meta))
    folder.model.unlink()
    assert "model.onnx is missing" in says(name)
