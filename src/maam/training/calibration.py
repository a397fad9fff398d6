"""Probabilities that mean something: a temperature, and what is too unsure to be answered."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from maam.core.frameworks import Backend
from maam.core.metrics import ROUNDING, calibration_error, softmax
from maam.core.run_meta import RunMeta
from maam.core.tensors import load_tensors, save_tensors
from maam.training.events import Note
from maam.training.run import TrainingRun

TEMPERATURES = (0.05, 20.0)
TOLERANCE = 1e-3  # of the divided logits, relative to the largest
FEWEST = 10  # validation images for a temperature; fewer say nothing
CHANCE = 3.84  # what chance gives twice the logarithm of a ratio of likelihoods, 19 times of 20


def calibrate(run: TrainingRun, backend: Backend) -> RunMeta:
    """Divide the best weights' logits by the temperature that suits the validation images.

    The temperature goes into the last layer's weights, if that divides the logits. Accuracy stays
    as it is. The file keeps the temperature beside the weights: a run that ends once more, with
    the same best epoch, is not calibrated twice.

    Args:
        run: a training that has ended; ``best.safetensors`` is written anew, once.
        backend: the framework.

    Returns:
        The run's metadata, with ``calibration`` and ``unknown``; None where there are too few
        validation images, or where the logits could not be divided. The watcher is told.
    """
    calibration, share = None, run.config.unknown_share
    labels, confidences = run.dataset.val.labels, np.empty(0)
    if len(labels):
        net, _ = backend.load_model(run.folder.path)
        raw = logits = backend.compute_logits(net, run.dataset.val, run.preprocessing)
        temperature = load_tensors(run.folder.best)[1].get("temperature")
        if temperature is not None:
            raw = logits * temperature
        elif len(labels) >= FEWEST:
            temperature = fit_temperature(raw, labels)
            logits = _divide(run, backend, net, raw, temperature)
            if logits is None:
                logits, temperature = raw, None
                what = "not calibrated: the network's last layer does not scale its logits"
                run.watch(Note(what))
        if temperature is not None:
            calibration = {
                "temperature": round(temperature, 4),
                "images": len(labels),
                "ece_before": calibration_error(softmax(raw), labels),
                "ece": calibration_error(softmax(logits), labels),
            }
        confidences = softmax(logits).max(1)
    threshold = unknown_threshold(confidences, share)
    if share and threshold is None:
        run.watch(
            Note(
                f'no image will be called "unknown": `unknown_share={share:g}` takes '
                f"{images_needed(share):,} validation images, here are {len(labels):,}; add "
                "images, or raise it"
            )
        )
    unknown = None if threshold is None else {"threshold": threshold, "share": share}
    return replace(run.meta, calibration=calibration, unknown=unknown)


def _divide(
    run: TrainingRun, backend: Backend, net: Any, logits: np.ndarray, temperature: float
) -> np.ndarray | None:
    """Divide the last layer's weights in ``best.safetensors``, if that divides the logits.

    It does in every model of ours; a network of one's own may end in something else.

    Args:
        run, backend, net: the run, and its network with the best weights, which are changed.
        logits: of the validation images (N, K).
        temperature: what they are divided by.

    Returns:
        The logits that the new weights give, (N, K); None if they are not the old ones divided.
        Nothing is written then.
    """
    weights, metadata = load_tensors(run.folder.best)
    for name in backend.head_names(net):
        weights[name] = (weights[name] / temperature).astype(weights[name].dtype)
    backend.set_weights(net, weights, str(run.folder.best))
    divided = backend.compute_logits(net, run.dataset.val, run.preprocessing)
    wanted = logits / temperature
    if not np.abs(divided - wanted).max() <= TOLERANCE * np.abs(wanted).max():
        return None
    save_tensors(run.folder.best, weights, {**metadata, "temperature": temperature})
    return divided


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that gives labels the highest likelihood (Guo et al. 2017, arXiv 1706.04599).

    As in Platt's scaling (1999), a label of N images is held to be right with N + 1 to 1, so that
    few images that are all right don't give certainty. It is 1 unless the labels speak against 1
    (likelihood-ratio test, 5 %: Wilks 1938): of few images, chance alone gives any temperature.

    Args:
        logits: float (N, K).
        labels: integers (N,).
    """
    from scipy.optimize import minimize_scalar

    count, classes = logits.shape
    given = np.eye(classes)[labels]
    held = np.where(given, (count + 1) / (count + 2), 1 / (count + 2) / max(classes - 1, 1))

    def loss(log_temperature: float, targets: np.ndarray) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_temperature)
        scaled -= scaled.max(1, keepdims=True)
        log_probabilities = scaled - np.log(np.exp(scaled).sum(1, keepdims=True))
        return -float((targets * log_probabilities).sum())

    low, high = np.log(TEMPERATURES)
    result: Any = minimize_scalar(loss, bounds=(low, high), args=(held,), method="bounded")
    significant = 2 * (loss(0.0, given) - loss(result.x, given)) > CHANCE
    return float(np.exp(result.x)) if significant else 1.0


def unknown_threshold(confidences: np.ndarray, share: float) -> float | None:
    """The probability below which the best class of at most a ``share`` of further images falls.

    (Hendrycks & Gimpel 2017, arXiv 1610.02136, take this probability for a sign of images that
    are of no known class.) Of N images it is the k-th smallest, k = floor(share * (N + 1)): another
    image of a known class is less sure than that with a chance of at most k / (N + 1), however few
    they are (split conformal prediction: Angelopoulos & Bates 2021, arXiv 2107.07511).

    Args:
        confidences: the best probabilities of N images of known classes.
        share: of such images that may be called unknown, from 0 to less than 1.

    Returns:
        The threshold: what is strictly below it is unknown. None for ``k = 0``, when N is less than
        ``images_needed(share)`` or the share is 0.
    """
    rank = min(int(share * (len(confidences) + 1) + ROUNDING), len(confidences))
    return float(np.sort(confidences)[rank - 1]) if rank else None


def images_needed(share: float) -> int:
    """The fewest images that a threshold for this ``share``, above 0, can be taken from."""
    return max(math.ceil(1 / share - ROUNDING) - 1, 1)
