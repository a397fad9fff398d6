"""Shipped weights to begin with, and what networks that a training rests on have seen."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from maam.core.config import TrainConfig
from maam.core.errors import MaamError
from maam.core.frameworks import Backend
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.core.tensors import load_tensors
from maam.data.preprocessing import Preprocessing
from maam.models.stem import adapt_stem
from maam.models.weights import CIFAR10, find_run, source_run, sources
from maam.training.distillation import as_teacher

SEEN = (
    "the network that this training rests on may have learned the validation images: their scores "
    "are too good (`val_fraction=0` holds none out)"
)


def take_weights(
    backend: Backend, net: Any, source: RunFolder, fitted: Preprocessing, classes: Sequence[str]
) -> Preprocessing:
    """Give a fresh network shipped weights of its model.

    Its last layer stays fresh, unless the classes are those that the weights know.

    Args:
        backend: the framework.
        net: a network of it.
        source: where the weights lie.
        fitted: the preprocessing of the images to train on.
        classes: of these images.

    Returns:
        The preprocessing that goes with the weights, for these images.

    Raises:
        MaamError: they are of another model, or damaged.
    """
    trained, _ = load_tensors(source.best)
    meta, head = source.read_meta(), backend.head_names(net)
    if tuple(classes) != meta.classes:
        trained = {name: array for name, array in trained.items() if name not in head}
    weights = adapt_weights(backend.get_weights(net), trained, head, str(source))
    backend.set_weights(net, weights, str(source))
    given = Preprocessing.from_dict(meta.preprocessing)
    return adapt_preprocessing(given, fitted.size, fitted.channels)


def adapt_preprocessing(
    given: Preprocessing, size: tuple[int, int], channels: int
) -> Preprocessing:
    """What a network was trained with, for images of another size or number of channels."""
    mean, std = given.mean, given.std
    if channels != given.channels:  # grey is the mean of the colours, or all colours are grey
        mean = (round(float(np.mean(mean)), 6),) * channels
        std = (round(float(np.mean(std)), 6),) * channels
    return Preprocessing(size, channels, mean, std)


def adapt_weights(
    fresh: Mapping[str, np.ndarray],
    trained: Mapping[str, np.ndarray],
    head: Collection[str],
    source: str,
) -> dict[str, np.ndarray]:
    """Trained weights for a network of another number of classes, pixels or colour channels.

    A grey image gives the first layer what a normalised image with three equal channels gave it.

    Args:
        fresh: all tensors of the new network, by name.
        trained: those of the trained one; without its last layer, that of ``fresh`` stays.
        head: the names of the last layer's tensors.
        source: where they come from, for the error.

    Raises:
        MaamError: another tensor differs in name or shape.
    """
    trained = adapt_stem(fresh, trained)
    if more := trained.keys() - fresh.keys():
        raise MaamError(
            f"{source} holds the weights of another model: {min(more)} is no part of it"
        )
    adapted = {}
    for name, array in fresh.items():
        value = trained.get(name)
        if value is not None and value.ndim == 4 and {value.shape[1], array.shape[1]} == {1, 3}:
            inputs = array.shape[1]
            value = value.astype(np.float32).sum(1, keepdims=True).repeat(inputs, 1) / inputs
        if value is not None and value.shape == array.shape:
            adapted[name] = value.astype(array.dtype)
        elif name in head and value is None:
            adapted[name] = array
        else:
            raise MaamError(f"{source} holds the weights of another model: {name} differs")
    return adapted


def rests_on(config: TrainConfig) -> list[dict[str, Any]]:
    """The networks that a training learns from, directly or through another: what their metadata,
    or a student's note of its teacher, say of their ``data`` and ``data_digests``.

    Raises:
        MaamError: the teacher is no run folder, or the model's weights do not come with the
            package.
    """
    networks = []
    if config.pretrained:
        networks = [as_teacher(source_run(config.model, config.weights).read_meta())]
    teacher = as_teacher(find_run(config.teacher).read_meta()) if config.teacher else None
    while teacher:
        networks.append(teacher)
        source = teacher.get("learned_from", CIFAR10)
        if teacher["pretrained"] and source in sources(teacher["model"]):
            networks.append(as_teacher(source_run(teacher["model"], source).read_meta()))
        teacher = teacher.get("teacher")
    return networks


def saw_validation(network: Mapping[str, Any], meta: RunMeta) -> bool:
    """Whether a network may have been trained on images that a new run validates with.

    Args:
        network: one of ``rests_on``.
        meta: of the new run.
    """
    seen = network.get("data_digests") or {}
    return (
        meta.images["val"] > 0
        and network.get("data") == meta.data
        and seen.get("train") != meta.data_digests["train"]
    )
