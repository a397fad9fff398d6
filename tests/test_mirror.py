"""The two frameworks' rooms mirror each other: files, classes, functions, parameters."""

from __future__ import annotations

import ast
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

import maam
import maam.mindspore
import maam.torch
from maam.core.frameworks import Backend
from maam.models import list_models

ROOM = Path(maam.__file__).parent
# What one of them needs and the other does not.
FILES = {
    # operators as MindSpore's; convolution, and whole blocks
    "mindspore": {"ops/aot.py", "ops/convolution.py", "ops/chain.py", "ops/pooled.py"},
    # whole batches on a GPU; CUDA graphs; fine-tuning for integers
    "torch": {"augment.py", "graphs.py", "rounding.py"},
}
CLASSES = {
    # a cell, where PyTorch has a function; inference by chains, which PyTorch has none of
    "mindspore": {"FusedNorm", "Answers"},
    "torch": set[str](),
}
BACKENDS: dict[str, Backend] = {"mindspore": maam.mindspore, "torch": maam.torch}  # as types too


def files(framework: str) -> set[str]:
    room = ROOM / framework
    return {path.relative_to(room).as_posix() for path in room.rglob("*.py")} - FILES[framework]


def public_classes(framework: str, file: str) -> set[str]:
    tree = ast.parse((ROOM / framework / file).read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    return {name for name in names if not name.startswith("_")} - CLASSES[framework]


def test_the_files_are_the_same():
    for framework in BACKENDS:
        for file in FILES[framework]:
            assert (ROOM / framework / file).exists(), file
    assert files("mindspore") == files("torch")


@pytest.mark.parametrize("file", sorted(files("torch")))
def test_the_classes_are_the_same(file):
    assert public_classes("mindspore", file) == public_classes("torch", file)


def test_the_public_names_are_the_same_and_those_of_a_backend():
    assert maam.mindspore.__all__ == maam.torch.__all__
    methods = {name for name in vars(Backend) if not name.startswith("_")}
    assert methods <= set(maam.torch.__all__)


@pytest.mark.parametrize("name", maam.torch.__all__)
def test_the_arguments_are_the_same(name):
    parameters = [
        {each.name: each.default for each in signature(getattr(backend, name)).parameters.values()}
        for backend in BACKENDS.values()
    ]
    assert list(parameters[0].items()) == list(parameters[1].items())


@pytest.mark.parametrize("model", list_models())
def test_the_parameters_have_the_same_names_and_shapes(model):
    shapes = {
        framework: {name: array.shape for name, array in backend.get_weights(net).items()}
        for framework, backend in BACKENDS.items()
        for net in [backend.create_model(model, 7, 3, (32, 32))]
    }
    assert shapes["mindspore"] == shapes["torch"]
    heads = [
        backend.head_names(backend.create_model(model, 7, 3, (32, 32)))
        for backend in BACKENDS.values()
    ]
    assert heads[0] == heads[1] == {"classifier.weight", "classifier.bias"}


def test_alone_there_is_one_process():
    for backend in BACKENDS.values():
        assert (backend.rank(), backend.world_size()) == (0, 1)
        assert backend.sum_over_ranks([1.5, 2.0]) == [1.5, 2.0]


def test_inference_is_the_same_function_in_both(rng):
    images = rng.random((2, 3, 8, 8), np.float32)
    nets = {name: backend.create_model("cnn", 3, 3, (8, 8)) for name, backend in BACKENDS.items()}
    weights = BACKENDS["torch"].get_weights(nets["torch"])
    BACKENDS["mindspore"].set_weights(nets["mindspore"], weights, "here")
    logits = [backend.inference(nets[name])(images) for name, backend in BACKENDS.items()]
    assert logits[0].shape == (2, 3) and logits[0].dtype == np.float32
    np.testing.assert_allclose(logits[0], logits[1], rtol=1e-3, atol=1e-4)
