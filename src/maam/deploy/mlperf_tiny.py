"""MLPerf Tiny's single-stream rules for image classification, as far as they fit this machine.

Rules: https://github.com/mlcommons/tiny/blob/master/benchmark/MLPerfTiny_Rules.adoc (version 1.2);
how long a run is: https://github.com/mlcommons/tiny/tree/master/benchmark/runner and EEMBC's runner
before it; the images: benchmark/training/image_classification there. MLPerf is a trademark of
MLCommons. These are no MLPerf results: none has been submitted or reviewed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maam.core.errors import MaamError

DATA = "cifar10"
RUNS = 5  # each with another input; their median counts
SECONDS, INFERENCES = 10.0, 10  # at least, in each run
IMAGES = 200  # of the accuracy set
TARGET = 0.85  # top-1 accuracy that the closed division asks for
PER_CLASS, _CLASSES, _SEED = 20, 10, 8108

FOLLOWED: tuple[str, ...] = (
    "single stream: one image at a time, the next one when the answer is there",
    "the score is the median throughput of the runs, in inferences a second",
    f"top-1 accuracy on its {IMAGES} images, by the same code and file that are timed",
)
NOT_FOLLOWED: tuple[str, ...] = (
    "normalisation is timed where model.onnx or our C does it; the rules time no pre-processing",
    "no board behind a serial line, no runner of MLCommons: this process asks and measures",
    "each run is in a process of its own, and models take turns",
    "the model is not the reference ResNet-8, so it compares with the open division",
    "no energy is measured, nothing was submitted or reviewed",
)


def accuracy_set(labels: np.ndarray) -> np.ndarray:
    """Which test images of CIFAR-10 the accuracy is measured on: indices (200,), in order.

    MLCommons has drawn 20 of each class at random, with a seed that it has published. Only their
    order within each class matters here, so a copy that is sorted by classes gives the same ones.

    Args:
        labels: int (10000,), of the test images.

    Raises:
        MaamError: there are not enough of each class.
    """
    if np.bincount(labels, minlength=_CLASSES).min() < PER_CLASS:
        raise MaamError(
            "`mlperf_tiny` needs the test images of CIFAR-10, 1,000 of each class: here are "
            f"{len(labels):,} in all"
        )
    rng = np.random.default_rng(_SEED)
    drawn = [
        rng.choice(np.flatnonzero(labels == label), PER_CLASS, replace=False)
        for label in range(_CLASSES)
    ]
    chosen = np.concatenate(drawn)
    rng.shuffle(chosen)
    return chosen


def kept_rules(seconds: float, runs: int, source: str) -> dict[str, Sequence[str]]:
    """What is followed and what is not, for people.

    Args:
        seconds, runs: of the timing.
        source: where the images came from.
    """
    followed, broken = list(FOLLOWED), list(NOT_FOLLOWED)
    long = seconds >= SECONDS and runs >= RUNS
    timing = f"{runs} runs of at least {seconds:g} seconds and {INFERENCES} inferences"
    (followed if long else broken).append(
        timing if long else f"{timing}, not {RUNS} of {SECONDS:g} seconds"
    )
    if "original" not in source:
        broken.append(f"the images are of {source}, not of the original archive")
    return {"followed": followed, "not_followed": broken}
