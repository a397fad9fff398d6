"""Probabilities that mean something: a temperature, and what is too unsure to be answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from maam.core.frameworks import Backend
from maam.core.metrics import calibration_error, softmax
from maam.core.run_meta import RunMeta
from maam.core.tensors import load_tensors, save_tensors
from maam.training.events import Note
from maam.training.run import TrainingRun

TEMPERATURES = (0.05, 20.0)
CHECKED, TOLERANCE = 100, 1e-3  # images whose logits must be divided; relative to the largest
FEWEST = 10  # validation images; fewer say nothing


def calibrate(run: TrainingRun, backend: Backend) -> RunMeta:
    """Divide the best weights' logits by the temperature that suits the validation images.

    The temperature goes into the last layer's weights, if that divides the logits. Accuracy stays
    as it is.

    Args:
        run: a training that has ended; ``best.safetensors`` is written anew.
        backend: the framework.

    Returns:
        The run's metadata, with ``calibration`` and ``unknown``; without validation images, or
        with too few, as they were; ``unknown`` alone, if the logits could not be divided.
    """
    folder, split = run.folder, run.dataset.val
    if len(split) < FEWEST:
        return run.meta
    net, _ = backend.load_model(folder.path)
    logits = backend.compute_logits(net, split, run.preprocessing)
    temperature = fit_temperature(logits, split.labels)
    probabilities, calibration = softmax(logits), None
    if _divide(run, backend, net, logits, temperature):
        before, probabilities = probabilities, softmax(logits / temperature)
        calibration = {
            "temperature": round(temperature, 4),
            "images": len(split),
            "ece_before": calibration_error(before, split.labels),
            "ece": calibration_error(probabilities, split.labels),
        }
    else:
        run.watch(Note("not calibrated: the network's last layer does not scale its logits"))
    share = run.config.unknown_share
    unknown = (
        {"threshold": unknown_threshold(probabilities, share), "share": share} if share else None
    )
    return replace(run.meta, calibration=calibration, unknown=unknown)


def _divide(
    run: TrainingRun, backend: Backend, net: Any, logits: np.ndarray, temperature: float
) -> bool:
    """Divide the last layer's weights in ``best.safetensors``, if that divides the logits.

    It does in every model of ours; a network of one's own may end in something else.

    Args:
        run, backend, net: the run, and its network with the best weights, which are changed.
        logits: of the validation images (N, K).
        temperature: what they are divided by.

    Returns:
        Whether it was done.
    """
    weights, metadata = load_tensors(run.folder.best)
    for name in backend.head_names(net):
        weights[name] = (weights[name] / temperature).astype(weights[name].dtype)
    backend.set_weights(net, weights, str(run.folder.best))
    some = run.dataset.val.take(np.arange(min(CHECKED, len(logits))))
    wanted = logits[: len(some)] / temperature
    error = np.abs(backend.compute_logits(net, some, run.preprocessing) - wanted).max()
    if not error <= TOLERANCE * np.abs(wanted).max():
        return False
    save_tensors(run.folder.best, weights, metadata)
    return True


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that gives labels the highest likelihood (Guo et al. 2017, arXiv 1706.04599).

    As in Platt's scaling (1999), a label of N images is held to be right with N + 1 to 1, so that
    few images that are all right don't give certainty.

    Args:
        logits: float (N, K).
        labels: integers (N,).
    """
    from scipy.optimize import minimize_scalar

    count, classes = logits.shape
    targets = np.full((count, classes), 1 / (count + 2) / max(classes - 1, 1))
    targets[np.arange(count), labels] = (count + 1) / (count + 2)

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_temperature)
        scaled -= scaled.max(1, keepdims=True)
        log_probabilities = scaled - np.log(np.exp(scaled).sum(1, keepdims=True))
        return -float((targets * log_probabilities).sum())

    low, high = np.log(TEMPERATURES)
    result = minimize_scalar(loss, bounds=(low, high), method="bounded")
    return float(np.exp(result["x"]))


def unknown_threshold(probabilities: np.ndarray, share: float) -> float:
    """The highest probability below which a ``share`` of the images has its best class.

    (Hendrycks & Gimpel 2017, arXiv 1610.02136, take this probability for a sign of images that
    are of no known class.)

    Args:
        probabilities: of images of known classes, (N, K).
        share: of them that may be called unknown.
    """
    return float(np.quantile(probabilities.max(1), share, method="lower"))
