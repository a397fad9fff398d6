"""``maam.quantize``: a run in 8-bit integers, measured before it counts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from maam.core.config import EvaluateConfig, QuantizeConfig, make_config
from maam.core.errors import MaamError
from maam.core.files import atomic_path
from maam.core.frameworks import EXTRAS, require
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.core.signals import check_signals
from maam.data import SOURCES, Split
from maam.data.fingerprints import fingerprints
from maam.data.preprocessing import Preprocessing
from maam.data.unseen import Images, choose_images
from maam.deploy.c.block import make_block
from maam.deploy.classifier import Classifier, colour
from maam.deploy.int8 import LOGIT_STEPS, Int8Network
from maam.deploy.int8_file import save_int8
from maam.deploy.int8_onnx import int8_model, scored
from maam.deploy.int8_report import AccuracyLost, Form, Int8Report
from maam.deploy.int8_tuning import fine_tuned, tuning_images
from maam.deploy.latency import measure
from maam.deploy.onnx import Network
from maam.deploy.quantization import largest_values, with_limits
from maam.deploy.reading import read_layers
from maam.models.weights import find_run

FEWEST = 32  # training images for the grids
COMPARED = 200  # images on which the ONNX file must agree with the reference
_BATCH = 250

Scores = Callable[[np.ndarray], np.ndarray]


def quantize(run: str | os.PathLike[str], **options: Any) -> Int8Report:
    """Write a run's network in 8-bit integers beside it: int8.safetensors and model-int8.onnx.

    The grids are chosen from training images; accuracy is of test images, before and after. Where
    more is lost than allowed, ``finetune_epochs`` of training let a copy of the weights lose less.

    Args:
        run: a run folder, as ``maam.train`` makes it.
        options: fields of ``QuantizeConfig``: ``data``, ``data_dir``, ``images``, ``max_drop``,
            ``finetune_epochs``.

    Example:
        >>> maam.quantize("runs/photos").drop

    Raises:
        AccuracyLost: int8 loses more than ``max_drop``. Nothing is written then.
        MaamError: bad options; the name of a shipped model; a run that is not finished, is damaged,
            or is of a model whose layers are not known; too few training images; data as for
            ``maam.evaluate``; no PyTorch to fine-tune with.
    """
    config = make_config(QuantizeConfig, options)
    folder = find_run(run)
    if folder.path != Path(run):
        raise MaamError(
            f"{run} comes with maam, whose files stay as they are: name a run of yours, or a copy "
            f"of {folder}"
        )
    meta = folder.read_meta()
    if not meta.metrics:
        raise MaamError(f"{folder} is not finished: end it with `maam train --resume {folder}`")
    layers = read_layers(folder)
    require("an ONNX file in int8", EXTRAS[meta.framework], "onnx")
    if config.finetune_epochs:
        require("fine-tuning for int8", EXTRAS["torch"], "torch")
    preprocessing = Preprocessing.from_dict(meta.preprocessing)
    classifier = Classifier.load(folder.path)
    calibration, chosen = _images(folder, meta, config)
    test, notes = chosen.split, tuple(chosen.notes)
    limits = largest_values(layers, preprocessing, calibration.pixels())
    network = with_limits(layers, preprocessing, limits)
    before = _answers(test, classifier.probabilities)
    after = _answers(test, network.logits)
    untuned, epochs = None, 0
    if config.finetune_epochs and _drop(test, before, after) > config.max_drop:
        untuned = _drop(test, before, after)
        images = tuning_images(folder, meta, _where(config), test)
        network, epochs = fine_tuned(layers, limits, preprocessing, images, config.finetune_epochs)
        after = _answers(test, network.logits)
        notes += (_told(epochs, images),)
    with tempfile.TemporaryDirectory() as scratch:
        accuracies = [float((answers == test.labels).mean()) for answers in (before, after)]
        own = scored(meta, accuracies[1], chosen.name, len(test), chosen.own)
        content = int8_model(network, own)
        some = test.take(np.arange(min(COMPARED, len(test)))).pixels()
        median, largest = _differences(network, Network(content)(colour(some)), some)
        model = Path(scratch) / folder.int8_model.name
        model.write_bytes(content)
        measured = measure({"float32": folder.model, "int8": model})
        packed = Path(scratch) / folder.int8.name
        save_int8(packed, network, folder.best)
        blocks = make_block(layers, preprocessing), make_block(network)
        constants = [block.head["bytes"] for block in blocks]
        sizes = [file.stat().st_size for file in (folder.model, model)]
        latencies = [measured[form]["latency_ms"] for form in ("float32", "int8")]
        report = Int8Report(
            run=str(run),
            model=meta.model,
            calibration=len(calibration),
            split=chosen.name,
            images=len(test),
            float32=Form(accuracies[0], constants[0], sizes[0], latencies[0]),
            int8=Form(accuracies[1], constants[1], sizes[1], latencies[1]),
            drop=_drop(test, before, after),
            untuned_drop=untuned,
            epochs=epochs,
            same_answers=float((before == after).mean()),
            onnx_difference=median,
            onnx_largest=largest,
            notes=notes,
        )
        if report.drop > config.max_drop:
            raise AccuracyLost(report, config.max_drop)
        # Both are whole before either takes its place.
        with atomic_path(folder.int8) as first, atomic_path(folder.int8_model) as second:
            first.write_bytes(packed.read_bytes())
            second.write_bytes(model.read_bytes())
    return report


def _images(folder: RunFolder, meta: RunMeta, config: QuantizeConfig) -> tuple[Split, Images]:
    """Training images for the grids; others to score."""
    where = _where(config)
    train = choose_images(folder, meta, make_config(EvaluateConfig, {**where, "split": "train"}))
    found = len(train.split)
    if found < FEWEST:
        raise MaamError(
            f"{train.source}: {found} training images are too few to choose the grids of int8 "
            f"from: {FEWEST} are needed; name others of the run's classes with `data`"
        )
    order = np.random.default_rng(0).permutation(found)[: config.images]
    calibration = train.split.take(np.sort(order))
    split = "test" if meta.metrics is None else meta.metrics.get("split", "test")
    test = choose_images(folder, meta, make_config(EvaluateConfig, {**where, "split": split}))
    notes = tuple(test.notes)
    scored = test.split
    if not test.own:  # without split folders, the same images would be in both
        apart = ~np.isin(fingerprints(scored), fingerprints(calibration))
        scored = scored.take(np.flatnonzero(apart))
    if not len(scored):
        raise MaamError(f"{test.source}: no images are left to score besides those for the grids")
    if len(calibration) < config.images:
        notes += (f"the grids rest on {found} images, fewer than `images={config.images}`",)
    return calibration, replace(test, split=scored, notes=notes)


def _where(config: QuantizeConfig) -> dict[str, Any]:
    """The options that say where images are."""
    data = config.data
    if data and data not in SOURCES:
        data = os.path.abspath(os.path.expanduser(data))
    return {"data": data, "data_dir": config.data_dir}


def _told(epochs: int, images: tuple[Split, Split]) -> str:
    """What fine-tuning has done, for people."""
    train, held_out = (len(split) for split in images)
    if not epochs:
        return f"fine-tuning on {train:,} images was better on {held_out:,} others in no epoch"
    return (
        f"fine-tuned for {epochs} epoch{'s' if epochs > 1 else ''} on {train:,} training images, "
        f"chosen by {held_out:,} others; the run's own weights are as they were"
    )


def _drop(split: Split, before: np.ndarray, after: np.ndarray) -> float:
    """Percentage points of accuracy lost between two answers (N,)."""
    right = [float((answers == split.labels).mean()) for answers in (before, after)]
    return round(100 * (right[0] - right[1]), 6)


def _answers(split: Split, scores: Scores) -> np.ndarray:
    """The class of each image, int (N,), by scores (n, K) of images uint8 (n, H, W, C)."""
    answers = []
    for pixels, _ in split.batches(_BATCH):
        answers.append(scores(pixels).argmax(1))
        check_signals()
    return np.concatenate(answers)


def _differences(
    network: Int8Network, found: np.ndarray, images: np.ndarray
) -> tuple[float, float]:
    """How far ONNX Runtime's logits are from the reference, in steps of an int8 grid of logits.

    A runtime multiplies in float32, so now and then a number is rounded the other way. In an early
    layer that spreads: a few images differ by some steps, where most differ by none.

    Args:
        network: the reference.
        found: ONNX Runtime's logits (N, K).
        images: uint8 (N, H, W, C).

    Returns:
        Of each image's largest difference the median, and the largest.

    Raises:
        MaamError: the median is more than 1.
    """
    steps = (found / (network.logit_scale * LOGIT_STEPS)).clip(-128, 128)
    each = np.abs(steps - network.logits(images) / LOGIT_STEPS).max(1)
    if not np.median(each) <= 1:
        raise MaamError(
            "ONNX Runtime computes other logits from int8 on this machine, by "
            f"{np.median(each):.2g} steps: nothing was written; another version of it may do"
        )
    return round(float(np.median(each)), 4), round(float(each.max()), 4)
