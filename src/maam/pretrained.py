"""What other networks give to a training: shipped weights to begin with, a teacher's answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maam import checkpoint
from maam.config import TrainConfig
from maam.data.transforms import Preprocessing
from maam.errors import MaamError
from maam.shipped import find_run, shipped, shipped_run

SEEN = (
    "the network that this training rests on may have learned the validation images: their scores "
    "are too good (--val-fraction 0 holds none out)"
)
LAST_LAYER = "classifier."  # the names of its parameters begin so


def take_weights(
    framework: Any, net: Any, model: str, ours: Preprocessing, classes: Sequence[str]
) -> Preprocessing:
    """Give a fresh network the shipped weights of its model.

    Its last layer stays fresh, unless the classes are those that the weights know.

    Args:
        framework: ``maam.mindspore`` or ``maam.torch``.
        net: a network of it.
        model: its name.
        ours: of the images to train on.
        classes: of these images.

    Returns:
        The preprocessing that goes with the weights, for these images.

    Raises:
        MaamError: the weights of this model do not come with the package.
    """
    source = shipped_run(model)
    trained, _ = checkpoint.load_tensors(source / checkpoint.BEST)
    meta = checkpoint.read_meta(source)
    if list(classes) != meta["classes"]:
        trained = {n: array for n, array in trained.items() if not n.startswith(LAST_LAYER)}
    weights = adapt_weights(framework.get_weights(net), trained, str(source))
    framework.set_weights(net, weights, str(source))
    theirs = Preprocessing.from_dict(meta["preprocessing"])
    return adapt_preprocessing(theirs, ours.size, ours.channels)


def teacher_facts(
    teacher: str, classes: Sequence[str], image_shape: tuple[int, int, int]
) -> dict[str, Any]:
    """What a student's run keeps about its teacher.

    Args:
        teacher: the run folder, or the name of a shipped model.
        classes, image_shape: (H, W, C), of the student's images.

    Returns:
        Its model, a digest of its weights, its data with their digests, whether it began with
        shipped weights, and the same of its own teacher.

    Raises:
        MaamError: it is no run folder with weights, or it knows other classes or images of
            another shape.
    """
    run = find_run(teacher)
    meta = checkpoint.read_meta(run)
    theirs = Preprocessing.from_dict(meta["preprocessing"])
    if meta["classes"] != list(classes):
        raise MaamError(f"--teacher {teacher}: its classes differ from this training's")
    if (*theirs.size, theirs.channels) != tuple(image_shape):
        raise MaamError(
            f"--teacher {teacher}: it takes images of {theirs.size[1]}x{theirs.size[0]}x"
            f"{theirs.channels}, these are {image_shape[1]}x{image_shape[0]}x{image_shape[2]}"
        )
    checkpoint.load_tensors(run / checkpoint.BEST)  # or say what is wrong with it
    weights = hashlib.sha256((run / checkpoint.BEST).read_bytes()).hexdigest()
    return {
        "model": meta["model"],
        "weights": weights,
        "data": meta.get("data"),
        "data_digests": meta.get("data_digests"),
        "pretrained": meta["config"].get("pretrained", False),
        "teacher": meta.get("teacher"),
    }


def rests_on(config: TrainConfig) -> list[dict[str, Any]]:
    """The facts of the networks that a training learns from, directly or through another.

    Raises:
        MaamError: the teacher is no run folder, or the model's weights do not come with the
            package.
    """
    found = [checkpoint.read_meta(shipped_run(config.model))] if config.pretrained else []
    teacher = checkpoint.read_meta(find_run(config.teacher)) if config.teacher else None
    while teacher:
        found.append(teacher)
        began = teacher.get("pretrained") or teacher.get("config", {}).get("pretrained")
        if began and teacher["model"] in shipped():
            found.append(checkpoint.read_meta(shipped_run(teacher["model"])))
        teacher = teacher.get("teacher")
    return found


def saw_validation(trained: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether a network may have been trained on images that a new run validates with.

    Args:
        trained, ours: the facts of both runs, as in ``meta.json``.
    """
    theirs = trained.get("data_digests") or {}
    return (
        ours["images"]["val"] > 0
        and trained.get("data") == ours["data"]
        and theirs.get("train") != ours["data_digests"]["train"]
    )


def renormalisation(ours: Preprocessing, theirs: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """Factor and summand, float32 (1, C, 1, 1), that make our network's input theirs."""
    mean, std, their_mean, their_std = (
        np.asarray(values, np.float64).reshape(1, -1, 1, 1)
        for values in (ours.mean, ours.std, theirs.mean, theirs.std)
    )
    factor, summand = std / their_std, (mean - their_mean) / their_std
    return factor.astype(np.float32), summand.astype(np.float32)


def adapt_preprocessing(
    theirs: Preprocessing, size: tuple[int, int], channels: int
) -> Preprocessing:
    """What the network was trained with, for images of another size or number of channels."""
    mean, std = theirs.mean, theirs.std
    if channels != theirs.channels:  # grey is the mean of the colours, or all colours are grey
        mean = (round(float(np.mean(mean)), 6),) * channels
        std = (round(float(np.mean(std)), 6),) * channels
    return Preprocessing(size, channels, mean, std)


def adapt_weights(
    fresh: Mapping[str, np.ndarray], trained: Mapping[str, np.ndarray], source: str
) -> dict[str, np.ndarray]:
    """Trained weights for a network of another number of classes or colour channels.

    A grey image gives the first layer what a normalised image with three equal channels gave it.

    Args:
        fresh: all tensors of the new network, by name.
        trained: those of the trained one; without its last layer, that of ``fresh`` stays.
        source: where they come from, for the error.

    Raises:
        MaamError: another tensor differs in name or shape.
    """
    if more := trained.keys() - fresh.keys():
        raise MaamError(
            f"{source} holds the weights of another model: {min(more)} is no part of it"
        )
    adapted = {}
    for name, array in fresh.items():
        found = trained.get(name)
        if found is not None and found.ndim == 4 and {found.shape[1], array.shape[1]} == {1, 3}:
            inputs = array.shape[1]
            found = found.astype(np.float32).sum(1, keepdims=True).repeat(inputs, 1) / inputs
        if found is not None and found.shape == array.shape:
            adapted[name] = found.astype(array.dtype)
        elif name.startswith(LAST_LAYER) and found is None:
            adapted[name] = array
        else:
            raise MaamError(f"{source} holds the weights of another model: {name} differs")
    return adapted
