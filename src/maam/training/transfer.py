"""Weights to begin with, and what networks that a training rests on have seen."""

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
from maam.data import SOURCES, Split
from maam.data.preprocessing import Preprocessing
from maam.models.pruning import prune_arrays
from maam.models.stem import adapt_stem
from maam.models.weights import CIFAR10, find_run, is_own_run, source_run, sources
from maam.models.widths import Stages, maamnet_stages
from maam.training.distillation import (
    as_teacher,
    describe_teacher,
    trained_on_any,
    weights_digest,
)

SEEN = (
    "the network that this training rests on may have learned the validation images: their scores "
    "are too good (`val_fraction=0` holds none out)"
)


def take_weights(
    backend: Backend,
    net: Any,
    model: str,
    source: RunFolder,
    fitted: Preprocessing,
    classes: Sequence[str],
) -> Preprocessing:
    """Give a fresh network trained weights of its model, or of a MAAMNet with more channels.

    Its last layer stays fresh, unless the classes are those that the weights know. Of more
    channels it gets those that count most.

    Args:
        backend: the framework.
        net: a network of it.
        model: its name.
        source: where the weights lie, from ``source_run``.
        fitted: the preprocessing of the images to train on.
        classes: of these images.

    Returns:
        The preprocessing that goes with the weights, for these images.

    Raises:
        MaamError: they are of another model, or damaged.
    """
    trained, _ = load_tensors(source.best)
    meta, head = source.read_meta(), backend.head_names(net)
    stages, before = maamnet_stages(model), maamnet_stages(meta.model)
    if stages and before and stages != before:
        trained = _pruned(trained, before, stages, str(source))
    if tuple(classes) != meta.classes:
        trained = {name: array for name, array in trained.items() if name not in head}
    weights = adapt_weights(backend.get_weights(net), trained, head, str(source))
    backend.set_weights(net, weights, str(source))
    given = Preprocessing.from_dict(meta.preprocessing)
    return adapt_preprocessing(given, fitted.size, fitted.channels)


def _pruned(
    trained: Mapping[str, np.ndarray], before: Stages, stages: Stages, source: str
) -> dict[str, np.ndarray]:
    try:
        return prune_arrays(trained, before, stages)
    except (KeyError, IndexError, ValueError):
        raise MaamError(f"{source} holds the weights of another model than it says") from None


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
    """The networks that a training learns from, directly or through others: what their metadata,
    or a run's note of its teacher and its start, say of their ``data`` and ``data_digests``.

    Raises:
        MaamError: the teacher is no run folder, or there are no such weights of the model.
    """
    runs = [source_run(config.model, config.weights)] if config.pretrained else []
    runs += [find_run(config.teacher)] if config.teacher else []
    waiting = [as_teacher(run.read_meta()) for run in runs]
    networks = []
    while waiting:
        network = waiting.pop(0)
        networks.append(network)
        source = network.get("learned_from", CIFAR10)
        if network["pretrained"] and source in sources(network["model"]):
            waiting.append(as_teacher(source_run(network["model"], source).read_meta()))
        waiting += [network[key] for key in ("start", "teacher") if network.get(key)]
    return networks


def describe_origins(
    config: TrainConfig, classes: Sequence[str], image_shape: tuple[int, int, int]
) -> dict[str, Any]:
    """What a run keeps about its ``teacher`` and about its ``start``, the run whose weights it
    began with; None where there is none.

    Args:
        config: the options.
        classes, image_shape: (H, W, C), of its images.

    Raises:
        MaamError: the teacher does not fit, or there are no such weights of the model.
    """
    teacher = describe_teacher(config.teacher, classes, image_shape) if config.teacher else None
    run, start = _start(config), None
    if run is not None:
        load_tensors(run.best)  # or say what is wrong with it
        meta, name = run.read_meta(), run.path.resolve().name
        start = {"run": name, **as_teacher(meta), "weights": weights_digest(run)}
        if meta.model != config.model:
            start["kept"] = round(_channels(config.model) / _channels(meta.model), 4)
    return {"teacher": teacher, "start": start}


def _channels(model: str) -> int:
    return sum(wide for wide, _ in maamnet_stages(model) or ())


def learned_images(config: TrainConfig) -> np.ndarray:
    """Fingerprints of the images that the teacher and the start have learned from: uint64 (N,)."""
    known = [array for run in _runs(config) for array in run.read_images().values()]
    return np.concatenate([np.empty(0, np.uint64), *known])


def unlike_size(config: TrainConfig, image_shape: tuple[int, int, int]) -> str:
    """What can't be told of the images that the start, which saw another size, has learned.

    Args:
        config: the options.
        image_shape: (H, W, C), of the images to train on.

    Returns:
        A line; empty if the start saw images of this size or a data set with a name, or there is
        none.
    """
    start = _start(config)
    if start is None or config.data in SOURCES:
        return ""
    meta = start.read_meta()
    _, height, width = meta.image_shape
    if meta.data in SOURCES or (height, width) == tuple(image_shape[:2]):
        return ""
    return (
        f"{start} was trained on images of {width}x{height}: whether it has learned images that "
        f"this training is scored on can't be told (it can with `image_size={height}`)"
    )


def overlaps(config: TrainConfig, meta: RunMeta, validation: Split) -> bool:
    """Whether a network that a training rests on may have learned its validation images."""
    copied = any(trained_on_any(run, validation) for run in _runs(config))
    return copied or any(saw_validation(network, meta) for network in rests_on(config))


def _runs(config: TrainConfig) -> list[RunFolder]:
    """The run folders that a training learns from: the start's and the teacher's."""
    teacher = find_run(config.teacher) if config.teacher else None
    return [run for run in (_start(config), teacher) if run is not None]


def _start(config: TrainConfig) -> RunFolder | None:
    """The run folder whose weights a training begins with; None: it has the package's, or none."""
    if config.pretrained and is_own_run(config.weights):
        return source_run(config.model, config.weights)
    return None


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
