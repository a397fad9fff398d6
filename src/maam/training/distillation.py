"""A teacher: another network whose answers are learned too."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.core.tensors import load_tensors
from maam.data import Split
from maam.data.fingerprints import fingerprints
from maam.data.preprocessing import Preprocessing
from maam.models.own import refuse_own
from maam.models.weights import CIFAR10, find_run


def check_teacher(teacher: str) -> tuple[RunFolder, RunMeta]:
    """The run folder of a network to learn from, and its metadata.

    Args:
        teacher: the run folder, or the name of a shipped model.

    Raises:
        MaamError: it is no run folder with weights, or its network is one's own.
    """
    run = find_run(teacher)
    meta = run.read_meta()
    refuse_own(meta.model, f"`teacher` {teacher}", "name a run of a model that `maam models` lists")
    load_tensors(run.best)  # or say what is wrong with it
    return run, meta


def describe_teacher(
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
        MaamError: as ``check_teacher``, or it knows other classes or images of another shape.
    """
    run, meta = check_teacher(teacher)
    channels, height, width = meta.image_shape
    if meta.classes != tuple(classes):
        raise MaamError(f"`teacher` {teacher}: its classes differ from this training's")
    if (height, width, channels) != tuple(image_shape):
        raise MaamError(
            f"`teacher` {teacher}: it takes images of {width}x{height}x{channels}, these are "
            f"{image_shape[1]}x{image_shape[0]}x{image_shape[2]}"
        )
    return {**as_teacher(meta), "weights": weights_digest(run)}


def weights_digest(run: RunFolder) -> str:
    """SHA-256 of a run's file of weights."""
    return hashlib.sha256(run.best.read_bytes()).hexdigest()


def as_teacher(meta: RunMeta) -> dict[str, Any]:
    """What of a run tells which images its network has learned from: its data, the weights it began
    with (`pretrained`, with `learned_from` what the package's were learned, or `start`, another
    run's), and its teacher."""
    return {
        "model": meta.model,
        "data": meta.data,
        "data_digests": meta.data_digests,
        "pretrained": meta.config.get("pretrained", False),
        "learned_from": meta.config.get("weights", CIFAR10),
        "teacher": meta.teacher,
        "start": meta.start,
    }


def trained_on_any(run: RunFolder, split: Split) -> bool:
    """Whether a run was trained on an image of a split. Images are compared by their pixels.

    Args:
        run: the run folder; that of a shipped model does not record its images.
        split: of the images of another training, which rests on this run.
    """
    learned = run.read_images().get("train")
    return learned is not None and bool(np.isin(fingerprints(split), learned).any())


def renormalisation(
    student: Preprocessing, teacher: Preprocessing
) -> tuple[np.ndarray, np.ndarray]:
    """Factor and summand, float32 (1, C, 1, 1), that make the student's input the teacher's."""
    mean, std, teacher_mean, teacher_std = (
        np.asarray(values, np.float64).reshape(1, -1, 1, 1)
        for values in (student.mean, student.std, teacher.mean, teacher.std)
    )
    factor, summand = std / teacher_std, (mean - teacher_mean) / teacher_std
    return factor.astype(np.float32), summand.astype(np.float32)
