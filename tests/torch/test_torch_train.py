"""Training in PyTorch: the same run folder, resumed to the last bit, read by either framework."""

from __future__ import annotations

import shutil
import sys
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import maam
import maam.torch
from maam import MaamError
from maam.cli.app import run as maam_cli
from maam.core import frameworks
from maam.core.config import TrainConfig
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors, save_tensors
from maam.data import load_dataset
from maam.deploy.classifier import Classifier
from maam.training.events import Step, ignore
from maam.training.setup import set_up

QUICK = {"framework": "torch", "data": "digits", "limit": 192, "seed": 3, "learning_rate": 3e-3}
FRAMEWORKS = ("mindspore", "torch")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Three epochs of maam in PyTorch, with an average of the weights."""
    folder = tmp_path_factory.mktemp("runs") / "torch"
    return maam.train(**QUICK, model="maam", epochs=3, ema=0.9, out=folder)


class Cut(Exception):
    """Stands for a power cut."""


def cut_at(epoch):
    def watch(event):
        if isinstance(event, Step) and event.epoch == epoch:
            raise Cut

    return watch


def same_state(one, two):
    whole, again = (load_tensors(RunFolder(run).last)[0] for run in (one, two))
    assert whole.keys() == again.keys()
    return all(np.array_equal(whole[name], again[name]) for name in whole)


@pytest.mark.slow
def test_the_run_folder_is_that_of_mindspore(finished):
    names = {path.name for path in finished.run.iterdir()}
    plots = {path.name for path in (finished.run / "plots").iterdir()}
    other = maam.train(**{**QUICK, "framework": "mindspore"}, model="maam", epochs=1)
    assert names == {path.name for path in other.run.iterdir()}
    assert plots == {path.name for path in (other.run / "plots").iterdir()}
    meta = RunFolder(finished.run).read_meta()
    assert meta.to_dict().keys() == RunFolder(other.run).read_meta().to_dict().keys()
    assert meta.framework == "torch" and meta.device == "CPU"
    assert meta.environment["torch"] == torch.__version__
    ours, _ = load_tensors(RunFolder(finished.run).best)
    theirs, _ = load_tensors(RunFolder(other.run).best)
    assert {n: a.shape for n, a in ours.items()} == {n: a.shape for n, a in theirs.items()}


def test_it_learns_and_the_agents_weights_move(finished):
    assert finished.scores["accuracy"] > 0.25  # nine steps
    assert finished.history[-1]["train_loss"] < finished.history[0]["train_loss"]
    (weights,) = finished.history[-1]["agent_weights"]
    assert sum(weights) == pytest.approx(1, abs=1e-5) and weights != [weights[0]] * 3


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_either_framework_scores_the_run_the_same(finished, framework):
    again = maam.evaluate(finished.run, framework=framework)
    assert again["confusion"] == finished.scores["confusion"]
    assert again["loss"] == pytest.approx(finished.scores["loss"], rel=1e-4)


@pytest.mark.slow
def test_a_run_of_mindspore_is_read_by_pytorch():
    result = maam.train(**{**QUICK, "framework": "mindspore"}, model="maam", epochs=2)
    again = maam.evaluate(result.run, framework="torch")
    assert again["confusion"] == result.scores["confusion"]
    net, meta = maam.torch.load_model(result.run)
    assert not net.training and meta.classes == tuple(str(digit) for digit in range(10))


def test_the_export_predicts_what_the_network_scores(finished):
    test = load_dataset("digits", seed=3).test
    probabilities = Classifier.load(finished.run).classify(list(test.pixels()[..., 0]))
    accuracy = (probabilities.argmax(1) == test.labels).mean()
    assert accuracy == pytest.approx(finished.scores["accuracy"], abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maam-multires", "maam-k135", "maam-squeeze", "rnn"])
def test_every_kind_of_model_is_exported(name, tmp_path):
    net = maam.torch.create_model(name, 4, 1, (9, 7)).eval()
    assert maam.torch.export_onnx(net, (1, 9, 7), tmp_path / "model.onnx") < 1e-5
    assert (tmp_path / "model.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epoch", "options"),
    [
        (1, {"optimizer": "sgd", "ema": 0.9, "augment": "trivial", "mixup": 0.4, "cutmix": 1.0}),
        (0, {"optimizer": "adamw", "weight_decay": 0.1, "precision": "amp", "warmup_epochs": 0.5}),
        (1, {"optimizer": "sgd", "momentum": 0.0, "schedule": "triangular", "clip_norm": 1.0}),
    ],
)
def test_a_resumed_run_repeats_the_uninterrupted_one_to_the_last_bit(epoch, options, tmp_path):
    options = {**QUICK, "model": "cnn", "epochs": 2, **options}
    whole = maam.train(**options, out=tmp_path / "whole")
    with pytest.raises(Cut):
        maam.train(**options, out=tmp_path / "cut", watch=cut_at(epoch))
    resumed = maam.train(resume=tmp_path / "cut")
    assert same_state(whole.run, resumed.run)
    assert resumed.scores == whole.scores


def test_the_framework_of_a_run_stays(finished):
    with pytest.raises(MaamError, match="can't change `framework`"):
        maam.train(resume=finished.run, framework="mindspore")


def test_numbers_that_are_not_finite_stop_and_keep_the_last_good_epoch(tmp_path):
    options = {**QUICK, "model": "mlp", "optimizer": "sgd", "schedule": "constant", "epochs": 3}
    with pytest.raises(MaamError, match=r"in epoch 1 .* lower `learning_rate`"):
        maam.train(**{**options, "learning_rate": 1e30}, out=tmp_path / "r")
    assert not (tmp_path / "r" / "best.safetensors").exists()


@pytest.mark.slow
def test_both_loops_take_the_same_steps(tmp_path):
    """One batch an epoch, so that its order does not count: rates, average and weights agree."""
    options = {"data": "digits", "limit": 96, "batch_size": 96, "augment": "none", "model": "maam"}
    options |= {"epochs": 4, "warmup_epochs": 2.0, "optimizer": "sgd", "learning_rate": 0.05}
    found = {}
    for name in FRAMEWORKS:
        config = TrainConfig(
            framework=name, ema=0.9, val_fraction=0, out=tmp_path / name, **options
        )
        backend = frameworks.use(name)
        with ExitStack() as held:
            run = set_up(config, None, backend, ignore, held)
            if name == "mindspore":
                arrays = backend.get_weights(run.net)
            else:
                backend.set_weights(run.net, arrays, "MindSpore")
            history = backend.fit(run)
        last, _ = load_tensors(run.folder.last)
        best, _ = load_tensors(run.folder.best)
        found[name] = [row["train_loss"] for row in history], last, best
    (losses, last, best), (other_losses, other_last, other_best) = found.values()
    np.testing.assert_allclose(other_losses, losses, rtol=1e-3)
    for key, start in arrays.items():
        for one, other in ((last, other_last), (best, other_best)):
            moved = np.abs(one[key] - start).max()
            assert moved > 0, key
            assert np.abs(one[key] - other[key]).max() <= 0.02 * moved, key
        assert np.array_equal(best[key], last[f"ema.{key}"])
        assert np.array_equal(other_best[key], other_last[f"ema.{key}"])
        # The average has stayed behind the weights.
        assert np.abs(best[key] - last[key]).max() > 0.05 * np.abs(last[key] - start).max(), key


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_images_are_mixed_until_the_last_epochs(name, tmp_path, monkeypatch):
    loop = sys.modules[frameworks.use(name).fit.__module__]
    seen, train_batches = [], loop.train_batches

    def watched(*arguments, **ranks):
        for images, labels in train_batches(*arguments, **ranks):
            seen.append(labels.ndim)
            yield images, labels

    monkeypatch.setattr(loop, "train_batches", watched)
    options = {"data": "digits", "limit": 64, "model": "mlp", "cutmix": 1.0, "mix_until": 0.6}
    maam.train(**options, framework=name, epochs=3, out=tmp_path / "run")
    assert seen == [2, 2, 1]


def test_a_step_that_cannot_be_compiled_is_one_line(monkeypatch):
    from torch._dynamo.exc import TorchDynamoException

    def compile_net(net, dynamic):
        def fail(images):
            raise TorchDynamoException("no C++ compiler\nwas found")

        return fail

    monkeypatch.setattr(torch, "compile", compile_net)
    with pytest.raises(MaamError, match=r"`mode=eager` \(no C\+\+ compiler was found\)"):
        maam.train(**QUICK, model="mlp", mode="graph")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "Ascend"}, "needs `framework=mindspore`"),
        ({"device": "CUDA", "framework": "mindspore"}, "needs `framework=torch`"),
    ],
)
def test_a_device_of_the_other_framework_is_one_line(options, message):
    with pytest.raises(MaamError, match=message):
        maam.train(**{**QUICK, **options})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_no_cuda_device_is_one_line():
    with pytest.raises(MaamError, match="PyTorch finds no CUDA device here"):
        maam.train(**QUICK, device="CUDA")


def damage(run, how):
    """Damage the weights; returns what the one line must say."""
    path = RunFolder(run).best
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
        return "damaged"
    tensors, metadata = load_tensors(path)
    if how == "NaN":
        tensors["maam.reduce.conv.weight"][0, 0] = np.nan
        message = "maam.reduce.conv.weight has values that are not finite"
    elif how == "other model":
        tensors = {name.replace("maam.agents", "features"): a for name, a in tensors.items()}
        message = "holds the weights of another model: it lacks maam.agents.0"
    elif how == "other width":
        tensors["classifier.weight"] = tensors["classifier.weight"][:7]
        message = r"classifier.weight has the shape \(7, 256\), not \(10, 256\)"
    else:
        save_file(load_file(path), path)
        return "was not written by maam"
    save_tensors(path, tensors, metadata)
    return message


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    "how", ["truncated", "NaN", "other model", "other width", "another program's"]
)
def test_bad_weight_files_are_one_clear_line(finished, framework, how, tmp_path, capsys):
    shutil.copytree(finished.run, tmp_path / "bad")
    message = damage(tmp_path / "bad", how)
    with pytest.raises(MaamError, match=message):
        maam.evaluate(tmp_path / "bad", framework=framework)
    capsys.readouterr()
    assert maam_cli(["evaluate", str(tmp_path / "bad"), "--framework", framework]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) <= 2 and "best.safetensors" in captured.err


@pytest.mark.slow
def test_a_recipe_serves_both(tmp_path):
    recipe = tmp_path / "shared.toml"
    recipe.write_text('data = "digits"\nmodel = "mlp"\nepochs = 6\nmixup = 0.1\n')
    accuracies = {}
    for framework in FRAMEWORKS:
        out = str(tmp_path / framework)
        command = ["train", "--recipe", str(recipe), "--framework", framework, "--out", out]
        assert maam_cli(command) == 0
        meta = RunFolder(tmp_path / framework).read_meta()
        assert meta.framework == framework and meta.metrics
        accuracies[framework] = meta.metrics["accuracy"]
    assert min(accuracies.values()) > 0.7
    assert abs(accuracies["torch"] - accuracies["mindspore"]) < 0.12


@pytest.mark.parametrize(
    ("missing", "trained", "used"),
    [
        ("mindspore", "mindspore", "torch"),
        ("torch", "torch", "mindspore"),
        ("nothing", "torch", "torch"),
        ("nothing", "mindspore", "mindspore"),
    ],
)
def test_a_run_is_read_with_what_is_installed(missing, trained, used, monkeypatch):
    installed = frameworks.installed
    monkeypatch.setattr(frameworks, "installed", lambda name: name != missing and installed(name))
    assert frameworks.choose("auto", trained) == used
    assert frameworks.choose("torch", trained) == "torch"
    if missing != "nothing":
        with pytest.raises(MaamError, match=f"{missing} is not installed.*`framework={used}`"):
            frameworks.use(missing)


def test_one_image_a_step_is_too_few_for_some_networks(tmp_path, capsys):
    options = "--framework torch --data digits --model mobilenetv2-x0.5 --limit 10 --batch-size 1"
    assert maam_cli(["train", *options.split(), "--out", str(tmp_path / "run")]) == 2
    assert "raise --batch-size" in " ".join(capsys.readouterr().err.split())
