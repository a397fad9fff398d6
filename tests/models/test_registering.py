"""Models, foldings and optimisers of the user's own, by name beside the built-in ones."""

from __future__ import annotations

import sys
from contextlib import ExitStack

import mindspore as ms
import numpy as np
import pytest
import torch
from both_frameworks import randomise
from mindspore import Tensor
from mindspore import nn as cells
from torch import nn

import maam
import maam.mindspore
import maam.torch
from maam.core import frameworks
from maam.core.config import TrainConfig
from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors
from maam.data.base import ArraySplit
from maam.data.preprocessing import Preprocessing
from maam.mindspore import fold as mindspore_fold
from maam.mindspore import step as mindspore_step
from maam.models import registry
from maam.torch import fold as torch_fold
from maam.torch import step as torch_step
from maam.training.events import Step, ignore
from maam.training.options import resolve
from maam.training.schedule import OPTIMIZERS
from maam.training.setup import set_up

FRAMEWORKS = {"mindspore": maam.mindspore, "torch": maam.torch}
both = pytest.mark.parametrize("framework", FRAMEWORKS)


@pytest.fixture(autouse=True)
def _registries_as_they_were(monkeypatch):
    for module, name in (
        (registry, "_models"),
        (mindspore_fold, "_folds"),
        (torch_fold, "_folds"),
        (mindspore_step, "_optimizers"),
        (torch_step, "_optimizers"),
    ):
        monkeypatch.setattr(module, name, dict(getattr(module, name)))
    optimizers = set(OPTIMIZERS)
    yield
    OPTIMIZERS.intersection_update(optimizers)


class Cell(cells.Cell):
    """A MAAM and a dense layer."""

    def __init__(self, num_classes, in_channels, image_size, width=2):
        super().__init__()
        if min(image_size) < 4:
            raise ValueError("too small for me")
        self.maam = maam.mindspore.MAAM(in_channels, width)
        self.classifier = cells.Dense(width, num_classes)

    def construct(self, x):
        return self.classifier(self.maam(x).mean((2, 3)))


class Module(nn.Module):
    """The same in PyTorch."""

    def __init__(self, num_classes, in_channels, image_size, width=2):
        super().__init__()
        if min(image_size) < 4:
            raise ValueError("too small for me")
        self.maam = maam.torch.MAAM(in_channels, width)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.classifier(self.maam(x).mean((2, 3)))


BUILDERS = {"mindspore": Cell, "torch": Module}


def outputs(framework, net, images):
    if framework == "mindspore":
        return net.set_train(False)(Tensor(images)).asnumpy()
    with torch.inference_mode():
        return net.eval()(torch.from_numpy(images)).numpy()


def test_a_model_of_ones_own_is_built_by_name(rng):
    maam.register_model("own", "a model of my own", BUILDERS, {"width": 6})
    assert maam.list_models()[-1] == "own" and maam.list_models("ow?") == ["own"]
    assert registry.describe_model("own") == "a model of my own"
    assert resolve({"model": "own"}).model == "own"
    images = rng.random((3, 1, 8, 9), dtype=np.float32)
    nets = {name: each.create_model("own", 5, 1, (8, 9)) for name, each in FRAMEWORKS.items()}
    assert isinstance(nets["mindspore"], Cell) and isinstance(nets["torch"], Module)
    randomise(nets["mindspore"], nets["torch"], seed=0)
    found = {name: outputs(name, net, images) for name, net in nets.items()}
    assert found["torch"].shape == (3, 5)
    np.testing.assert_allclose(found["torch"], found["mindspore"], rtol=1e-4, atol=1e-5)
    for name, net in nets.items():
        assert FRAMEWORKS[name].head_names(net) == {"classifier.weight", "classifier.bias"}
        assert FRAMEWORKS[name].get_weights(net)["classifier.weight"].shape == (5, 6)


@both
def test_the_head_of_a_model_is_its_last_layer_whatever_it_is_called(framework):
    dense, sequential = FOLDS[framework][3:]
    flatten, relu = (
        (cells.Flatten, cells.ReLU) if framework == "mindspore" else (nn.Flatten, nn.ReLU)
    )
    layers = flatten(), dense(64, 8), relu(), dense(8, 5)
    maam.register_model("plain", "no classifier", {framework: lambda *_: sequential(*layers)})
    backend = FRAMEWORKS[framework]
    net = backend.create_model("plain", 5, 1, (8, 8))
    assert backend.head_names(net) == {"3.weight", "3.bias"}


@both
def test_a_place_is_imported_when_it_is_needed(framework, tmp_path, monkeypatch):
    (tmp_path / "own_models.py").write_text(f"from {__name__} import Cell, Module\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_models", raising=False)
    places = {"mindspore": "own_models:Cell", "torch": "own_models:Module"}
    maam.register_model("own", "elsewhere", places)
    assert "own_models" not in sys.modules
    net = FRAMEWORKS[framework].create_model("own", 4, 1, (8, 8))
    assert isinstance(net, BUILDERS[framework])
    monkeypatch.delitem(sys.modules, "own_models")


def test_a_model_for_one_framework_is_unknown_to_the_other():
    maam.register_model("cell", "for MindSpore", {"mindspore": Cell})
    maam.register_model("module", "for PyTorch", {"torch": Module})
    maam.mindspore.create_model("cell")
    maam.torch.create_model("module")
    with pytest.raises(MaamError, match="`model=cell` is not written for `framework=torch`"):
        maam.torch.create_model("cell")
    with pytest.raises(MaamError, match="`model=module` is not written for `framework=mindspore`"):
        maam.train(model="module", framework="mindspore", data="digits", limit=64)


@both
def test_what_a_builder_refuses_is_one_line(framework):
    maam.register_model("own", "picky", BUILDERS)
    with pytest.raises(MaamError, match="`model=own`: too small for me"):
        FRAMEWORKS[framework].create_model("own", 4, 1, (3, 8))


@pytest.mark.parametrize("name", ["maam", "own"])
def test_the_name_of_a_model_is_taken_once(name):
    maam.register_model("own", "mine", BUILDERS)
    before = registry.describe_model(name)
    with pytest.raises(ValueError, match=f"there is a model '{name}' already"):
        maam.register_model(name, "another", BUILDERS)
    assert registry.describe_model(name) == before


@pytest.mark.parametrize("name", maam.list_models())
def test_the_head_has_the_same_names_in_both_frameworks(name):
    names = [
        each.head_names(each.create_model(name, 7, 3, (16, 16))) for each in FRAMEWORKS.values()
    ]
    assert names[0] == names[1] == {"classifier.weight", "classifier.bias"}


class ScaleCell(cells.Cell):
    """Dense layer, then a factor, which folding takes in."""

    def __init__(self):
        super().__init__()
        self.dense = cells.Dense(4, 3)
        self.factor = ms.Parameter(Tensor([2.0, -1.0, 0.5], ms.float32), name="factor")

    def construct(self, x):
        return self.dense(x) * self.factor


class ScaleModule(nn.Module):
    """The same in PyTorch."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4, 3)
        self.factor = nn.Parameter(torch.tensor([2.0, -1.0, 0.5]))

    def forward(self, x):
        return self.dense(x) * self.factor


class SubCell(ScaleCell):
    pass


class SubModule(ScaleModule):
    pass


def fold_cell(scale):
    dense = cells.Dense(4, 3)
    factor = scale.factor.asnumpy()
    dense.weight.set_data(Tensor(scale.dense.weight.asnumpy() * factor[:, None]))
    dense.bias.set_data(Tensor(scale.dense.bias.asnumpy() * factor))
    return dense


def fold_module(scale):
    dense = nn.Linear(4, 3)
    with torch.no_grad():
        dense.weight.copy_(scale.dense.weight * scale.factor[:, None])
        dense.bias.copy_(scale.dense.bias * scale.factor)
    return dense


FOLDS = {
    "mindspore": (ScaleCell, SubCell, fold_cell, cells.Dense, cells.SequentialCell),
    "torch": (ScaleModule, SubModule, fold_module, nn.Linear, nn.Sequential),
}


@both
def test_a_layer_of_ones_own_is_folded(framework, rng):
    backend = FRAMEWORKS[framework]
    scale, sub, fold, dense, sequential = FOLDS[framework]
    net = sequential(scale(), sequential(dense(3, 4), scale()), dense(3, 4), sub())
    images = rng.random((2, 4), dtype=np.float32)
    expected = outputs(framework, net, images)
    whole, alone = backend.get_weights(net), backend.get_weights(scale())
    assert backend.get_weights(backend.fuse(net)).keys() == whole.keys()

    backend.register_fold(scale, fold)
    folded = backend.fuse(net)
    kinds = [type(folded[0]), type(folded[1][1]), type(folded[3])]
    assert kinds == [dense, dense, sub]  # a subclass is not meant
    np.testing.assert_allclose(outputs(framework, folded, images), expected, rtol=1e-5, atol=1e-6)
    names = backend.get_weights(folded).keys()
    assert {"0.weight", "0.bias", "1.1.weight", "1.1.bias", "3.factor"} <= names
    assert not names & {"0.factor", "0.dense.weight", "1.1.factor"}
    assert backend.get_weights(net).keys() == whole.keys()  # the network stays as it is
    assert isinstance(backend.fuse(scale()), dense)
    assert alone.keys() == {"dense.weight", "dense.bias", "factor"}


def own_optimizer(framework, seen):
    """Plain SGD, which notes what it is given."""

    def make(groups, config):
        seen.append(([group.get("weight_decay") for group in groups], config.learning_rate))
        if framework == "mindspore":
            return cells.SGD(groups, config.learning_rate, momentum=config.momentum, nesterov=True)
        return torch.optim.SGD(groups, config.learning_rate, config.momentum, nesterov=True)

    return make


def weights_after_steps(framework, optimizer, learning_rate):
    """Two steps of the own model, at rates that differ from the configured one."""
    rng = np.random.default_rng(0)
    nets = Cell(3, 1, (8, 8)), Module(3, 1, (8, 8))
    randomise(nets[0], nets[1], seed=0)
    images, labels = rng.random((6, 1, 8, 8), dtype=np.float32), np.arange(6) % 3
    options = {"optimizer": optimizer, "learning_rate": learning_rate}
    config = TrainConfig(**options, mode="eager", weight_decay=0.1)
    if framework == "mindspore":
        net = nets[0].set_train(True)
        made = mindspore_step.make_optimizer(net, config)
        step = mindspore_step.make_train_step(net, made, config)
        batch = Tensor(images), Tensor(labels.astype(np.int32))
        for rate in (0.1, 0.03):
            step(*batch, Tensor(rate, ms.float32), Tensor(0.0, ms.float32))
    else:
        net = nets[1].train()
        made = torch_step.make_optimizer(net, config)
        torch_train = torch_step.make_train_step(net, made, config)
        for rate in (0.1, 0.03):
            torch_train(torch.from_numpy(images), torch.from_numpy(labels), rate)
    return FRAMEWORKS[framework].get_weights(net)


@both
def test_an_optimiser_of_ones_own_gets_groups_and_every_steps_rate(framework):
    seen = []
    FRAMEWORKS[framework].register_optimizer("own", own_optimizer(framework, seen))
    assert resolve({"optimizer": "own"}).optimizer == "own"
    found = weights_after_steps(framework, "own", 0.7)
    expected = weights_after_steps(framework, "sgd", 0.2)  # the steps' own rates count
    ((decays, rate),) = seen
    assert decays[:2] == [0.1, 0.0] and rate == 0.7
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-7, err_msg=name)


@both
@pytest.mark.parametrize("name", ["adam", "own"])
def test_the_name_of_an_optimiser_is_taken_once(framework, name):
    backend = FRAMEWORKS[framework]
    backend.register_optimizer("own", own_optimizer(framework, []))
    with pytest.raises(ValueError, match=f"there is an optimiser '{name}' already"):
        backend.register_optimizer(name, own_optimizer(framework, []))


@both
def test_an_optimiser_that_is_not_there_says_so(framework):
    other = "torch" if framework == "mindspore" else "mindspore"
    FRAMEWORKS[other].register_optimizer("own", own_optimizer(other, []))
    options = {"data": "digits", "limit": 64, "model": "mlp", "framework": framework}
    text = f"`optimizer=own` is not written for `framework={framework}`"
    with pytest.raises(MaamError, match=text):
        maam.train(**options, optimizer="own")
    with pytest.raises(MaamError, match=r"`optimizer=owm`.* did you mean own"):
        maam.train(**options, optimizer="owm")


class Cut(Exception):
    """Stands for a power cut."""


def cut(event):
    if isinstance(event, Step) and event.epoch == 1:
        raise Cut


OPTIMISERS = {
    "mindspore": lambda groups, config: cells.AdaMax(groups, config.learning_rate),
    "torch": lambda groups, config: torch.optim.RMSprop(groups, config.learning_rate, momentum=0.5),
}


@pytest.mark.parametrize("framework", [pytest.param("mindspore", marks=pytest.mark.slow), "torch"])
def test_a_run_of_ones_own_model_and_optimiser_is_resumed_to_the_last_bit(framework, tmp_path):
    """Whatever the optimiser keeps from step to step."""
    maam.register_model("own", "a model of my own", BUILDERS)
    FRAMEWORKS[framework].register_optimizer("other", OPTIMISERS[framework])
    options = {"data": "digits", "limit": 64, "batch_size": 16, "epochs": 2, "model": "own"}
    options |= {"optimizer": "other", "framework": framework, "mode": "eager"}
    whole = maam.train(**options, out=tmp_path / "whole")
    with pytest.raises(Cut):
        maam.train(**options, out=tmp_path / "cut", watch=cut)
    with ExitStack() as held:
        config, folder = resolve({}, run=tmp_path / "cut"), tmp_path / "cut"
        run = set_up(config, folder, frameworks.use(framework), ignore, held)
        FRAMEWORKS[framework].fit(run)
    states = [load_tensors(RunFolder(folder).last)[0] for folder in (whole.run, folder)]
    assert states[0].keys() == states[1].keys()
    assert len(states[0]) > 2 * 10  # beside the weights, what the optimiser keeps
    for name, array in states[0].items():
        np.testing.assert_array_equal(states[1][name], array, err_msg=name)
    (answer,) = maam.predict(whole.run, [np.zeros((8, 8), np.uint8)])
    assert answer.error is None


@pytest.mark.parametrize(
    "name",
    [
        "maamnet-16x1",
        "maamnet-0x1",
        "a/b",
        "Net (own)",
        "",
        "maam",
        "auto",
        "..",
        "a*",
        "-x",
        "a" * 300,
    ],
)
def test_names_that_mean_something_else_are_refused(name):
    with pytest.raises(ValueError, match="model"):
        maam.register_model(name, "mine", BUILDERS)


@both
@pytest.mark.parametrize("outputs_", [5, 12])
def test_a_model_with_other_outputs_is_refused_before_it_is_trained(framework, outputs_, tmp_path):
    build = BUILDERS[framework]
    maam.register_model("odd", "it miscounts", {framework: lambda _, *rest: build(outputs_, *rest)})
    how = {"data": "digits", "framework": framework, "epochs": 1}
    with pytest.raises(MaamError, match=rf"gives \(2, {outputs_}\) for 2 images of 10 classes"):
        maam.train(model="odd", **how, out=tmp_path / "run")
    with pytest.raises(MaamError, match=rf"gives \(2, {outputs_}\) for 2 images of 10 classes"):
        maam.train(model="odd", **how, minutes=0.5, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@both
def test_modules_without_parameters_are_folded_too(framework):
    dense, sequential = FOLDS[framework][3:]
    base, identity = (
        (cells.Cell, cells.Identity) if framework == "mindspore" else (nn.Module, nn.Identity)
    )
    kind = type("Double", (base,), {})
    FRAMEWORKS[framework].register_fold(kind, lambda _: identity())
    net = FRAMEWORKS[framework].fuse(sequential(kind(), dense(2, 2)))
    assert not any(isinstance(each, kind) for each in _children(net))


def _children(net):
    return net.cells() if isinstance(net, cells.Cell) else net.children()


@both
def test_counting_and_scoring_leave_each_layer_in_its_mode(framework):
    backend = FRAMEWORKS[framework]
    net = backend.create_model("maamnet-16x1", 10, 3, (8, 8))
    norm, other = net.stem.norm, net.blocks[0].layer.norm
    if framework == "mindspore":
        net.set_train(True)
        norm.set_train(False)
    else:
        net.train()
        norm.eval()
    images = np.zeros((2, 8, 8, 3), np.uint8)
    split = ArraySplit(images, np.zeros(2, np.int32), ("a", "b"))
    how = Preprocessing((8, 8), 3, (0.0,) * 3, (1.0,) * 3)
    backend.count_macs(net, (3, 8, 8))
    backend.class_maps(net, images, how)
    backend.compute_logits(net, split, how)
    assert (net.training, norm.training, other.training) == (True, False, True)
