"""The test images of a benchmark, laid out in files that every process can read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maam.core.benchmark_config import BenchmarkConfig
from maam.core.config import EvaluateConfig, make_config
from maam.core.errors import MaamError
from maam.core.signals import check_signals
from maam.data.base import Split
from maam.data.sources import SOURCES
from maam.data.unseen import choose_images
from maam.deploy import mlperf_tiny
from maam.deploy.runtimes import Model

_BATCH = 250


@dataclass(frozen=True)
class ScoredImages:
    """The images that a model is scored on.

    Attributes:
        pixels: a file with uint8 (N, H, W, C).
        labels: a file with int32 (N,).
        timed: a file with the images of which some are timed, as ``pixels``.
        source: where they came from, for people.
    """

    pixels: Path
    labels: Path
    timed: Path
    source: str


def lay_out(
    models: Sequence[Model], config: BenchmarkConfig, folder: Path
) -> dict[str, ScoredImages]:
    """Write the test images of each model, which it has not learned from, into a folder.

    Returns:
        By the model's name.

    Raises:
        MaamError: they are missing, do not fit a model, or are not those that MLPerf Tiny scores.
    """
    data = config.data
    if config.mlperf_tiny and data not in (None, mlperf_tiny.DATA):
        raise MaamError(f"`data={data}`: MLPerf Tiny scores on {mlperf_tiny.DATA} alone")
    data = mlperf_tiny.DATA if config.mlperf_tiny else data
    if data and data not in SOURCES:
        data = os.path.abspath(os.path.expanduser(data))
    images = {}
    for number, model in enumerate(models):
        if model.run is None or model.meta is None:
            raise MaamError(
                f"{model.name} does not say its classes: name its run folder to score it"
            )
        split = (model.meta.metrics or {}).get("split", "test")
        wanted = {"data": data, "data_dir": config.data_dir, "split": split}
        chosen = choose_images(model.run, model.meta, make_config(EvaluateConfig, wanted))
        images[model.name] = _write(
            chosen.split, chosen.source, folder, str(number), config.mlperf_tiny
        )
        check_signals()
    return images


def _write(split: Split, source: str, folder: Path, name: str, small: bool) -> ScoredImages:
    pixels, labels = folder / f"{name}-pixels.npy", folder / f"{name}-labels.npy"
    shape = len(split), *split.image_shape
    array = np.lib.format.open_memmap(pixels, "w+", np.uint8, shape)
    start = 0
    for batch, _ in split.batches(_BATCH):
        array[start : start + len(batch)] = batch
        start += len(batch)
    array.flush()
    np.save(labels, split.labels)
    if not small:
        return ScoredImages(pixels, labels, pixels, source)
    timed = folder / f"{name}-timed.npy"
    np.save(timed, array[mlperf_tiny.accuracy_set(split.labels)])
    return ScoredImages(pixels, labels, timed, source)
