"""Learning from a teacher: the loss, the same in both frameworks, and the option for it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import mindspore as ms
import numpy as np
import pytest
import torch
from both_frameworks import same_weights
from mindspore import Tensor
from PIL import Image

import maam
from maam import MaamError
from maam.core.config import TrainConfig
from maam.core.metrics import softmax
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors
from maam.data.preprocessing import Preprocessing
from maam.mindspore import step as mindspore_step
from maam.mindspore.weights import read_tensors
from maam.models.weights import TINY_IMAGENET, source_run
from maam.torch import step as torch_step
from maam.torch.weights import named_tensors
from maam.torch.weights import read_tensors as read_torch
from maam.training.distillation import describe_teacher, renormalisation
from maam.training.events import Step
from maam.training.transfer import rests_on

QUICK: dict[str, Any] = {
    "data": "digits",
    "model": "cnn",
    "limit": 64,
    "epochs": 1,
    "batch_size": 32,
    "framework": "torch",
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A run that knows the digits a little."""
    out = tmp_path_factory.mktemp("runs") / "teacher"
    return maam.train(**QUICK | {"epochs": 3, "out": out}).run


def test_the_loss_is_the_divergence_of_softened_answers(rng):
    logits, targets = rng.normal(0, 3, (2, 7, 4)).astype(np.float32)
    for temperature in (1.0, 4.0):
        student, teacher = softmax(logits / temperature), softmax(targets / temperature)
        expected = temperature**2 * (teacher * np.log(teacher / student)).sum(1).mean()
        ours = mindspore_step.distillation_loss(Tensor(logits), Tensor(targets), temperature)
        theirs = torch_step.distillation_loss(
            torch.tensor(logits), torch.tensor(targets), temperature
        )
        assert float(ours.asnumpy()) == pytest.approx(expected, rel=1e-4)
        assert theirs.item() == pytest.approx(expected, rel=1e-4)
        same = torch_step.distillation_loss(torch.tensor(logits), torch.tensor(logits), temperature)
        assert same.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_a_step_is_the_same_in_both_frameworks(weight, rng):
    options = {"optimizer": "sgd", "learning_rate": 0.05, "teacher": "any", "temperature": 2.0}
    config = TrainConfig(mode="eager", teacher_weight=weight, label_smoothing=0.1, **options)
    net, other = same_weights("cnn", 5, 3, (12, 8))
    guide, other_guide = same_weights("maam-p1", 5, 3, (12, 8), seed=1)
    guide.set_train(False)
    other_guide.eval()
    before = [read_tensors(guide.get_parameters()), read_tensors(net.get_parameters())]
    images = rng.random((6, 3, 12, 8), dtype=np.float32)
    labels = rng.integers(0, 5, 6).astype(np.int32)
    net.set_train(True)
    optimizer = mindspore_step.make_optimizer(net, config)
    step = mindspore_step.make_train_step(net, optimizer, config, teacher=guide)
    expected, _ = step(Tensor(images), Tensor(labels), Tensor(config.learning_rate), Tensor(0.0))
    other_optimizer = torch_step.make_optimizer(other.train(), config)
    other_step = torch_step.make_train_step(other, other_optimizer, config, other_guide)
    answers = torch.from_numpy(labels).long()
    loss, _ = other_step(torch.from_numpy(images), answers, config.learning_rate)
    assert loss.item() == pytest.approx(float(expected.asnumpy()), rel=1e-4)
    ours, theirs = read_tensors(net.get_parameters()), read_torch(named_tensors(other))
    for name, old in before[1].items():
        moved = np.abs(ours[name] - old).max()
        assert np.abs(theirs[name] - ours[name]).max() <= 1e-3 * moved, name
    guided = read_tensors(guide.get_parameters())
    assert all((guided[name] == old).all() for name, old in before[0].items())
    assert all(tensor.grad is None for tensor in other_guide.parameters())


@pytest.mark.parametrize("framework", [pytest.param("mindspore", marks=pytest.mark.slow), "torch"])
def test_a_student_comes_nearer_to_its_teacher(teacher, framework, tmp_path):
    losses = {}
    for weight in (0.0, 1.0):
        options = {"teacher": teacher, "teacher_weight": weight, "framework": framework}
        epochs = {"epochs": 4, "seed": 1, "optimizer": "sgd", "learning_rate": 0.01}
        out = tmp_path / str(weight)
        result = maam.train(**QUICK | options | epochs, val_fraction=0.0, out=out)
        losses[weight] = result.history
    # Against the teacher alone, the labels play no part: the loss begins near 0 and falls.
    assert losses[1.0][-1]["train_loss"] < losses[1.0][0]["train_loss"]
    assert losses[1.0][0]["train_loss"] < losses[0.0][0]["train_loss"]


def test_a_teacher_must_fit(teacher, tmp_path):
    with pytest.raises(MaamError, match="is not a run folder"):
        maam.train(**QUICK, teacher=tmp_path, out=tmp_path / "a")
    begun = tmp_path / "begun"  # in its first epoch: no weights yet
    begun.mkdir()
    shutil.copy(RunFolder(teacher).meta, begun)
    with pytest.raises(MaamError, match=r"best\.safetensors"):
        maam.train(**QUICK, teacher=begun, out=tmp_path / "a")
    shutil.rmtree(begun)
    with pytest.raises(MaamError, match=r"`teacher` .*: its classes differ"):
        maam.train(data=photos(tmp_path / "photos"), teacher=teacher)
    with pytest.raises(MaamError, match=r"it takes images of 8x8x1, these are 9x9x1"):
        describe_teacher(str(teacher), RunFolder(teacher).read_meta().classes, (9, 9, 1))
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_teacher_rests_on_the_weights_that_it_began_with(tmp_path):
    first = source_run("maamnet-nano", TINY_IMAGENET).read_meta()
    begun = {"pretrained": True, "weights": TINY_IMAGENET}
    RunFolder(tmp_path).write_meta(replace(first, data="photos", config=begun))
    networks = rests_on(TrainConfig(data="cifar10", teacher=str(tmp_path)))
    assert [each["data"] for each in networks] == ["photos", first.data]


def photos(folder):
    """Two classes that no digits are."""
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (8, 8), 20 * number).save(folder / name / f"{number}.png")
    return folder


def test_a_teacher_sees_pixels_as_it_learned_them(rng):
    images = rng.integers(0, 256, (2, 4, 5, 3), np.uint8)
    ours = Preprocessing((4, 5), 3, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    theirs = Preprocessing((4, 5), 3, (0.0, 0.1, 0.5), (1.0, 0.2, 0.3))
    factor, summand = renormalisation(ours, theirs)
    np.testing.assert_allclose(ours(images) * factor + summand, theirs(images), atol=1e-5)
    factor, summand = renormalisation(ours, ours)
    np.testing.assert_array_equal(ours(images) * factor + summand, ours(images))


class Cut(Exception):
    """Stands for a power cut."""


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["mindspore", "torch"])
def test_a_student_goes_on_where_it_was_cut(teacher, framework, tmp_path):
    options = QUICK | {"epochs": 3, "framework": framework, "teacher": teacher}
    options |= {"mixup": 1.0, "mix_until": 0.5, "normalize": "standard"}

    def watch(event):
        if isinstance(event, Step) and event.epoch == 2:
            raise Cut

    whole = maam.train(**options, out=tmp_path / "whole")
    with pytest.raises(Cut):
        maam.train(**options, out=tmp_path / "cut", watch=watch)
    other = maam.train(**{**QUICK, "seed": 5}, out=tmp_path / "other").run
    with pytest.raises(MaamError, match="`teacher` is not what it began with"):
        maam.train(resume=tmp_path / "cut", teacher=other)
    moved = shutil.copytree(teacher, tmp_path / "moved")
    again = maam.train(resume=tmp_path / "cut", teacher=moved)
    states = [load_tensors(r.run / "last.safetensors")[0] for r in (whole, again)]
    assert states[0].keys() == states[1].keys()
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.slow
def test_graphs_take_a_teacher(teacher, tmp_path):
    ms.set_context(mode=ms.GRAPH_MODE)
    options: dict[str, Any] = {**QUICK, "framework": "mindspore", "mode": "graph", "ema": 0.9}
    result = maam.train(**options, teacher=teacher, out=tmp_path / "run")
    resumed = maam.train(resume=result.run, epochs=2)
    assert len(resumed.history) == 2
