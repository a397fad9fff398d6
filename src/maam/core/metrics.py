"""Logits and labels -> scores. Every score is summed over all images first, divided once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from maam.core.errors import MaamError

CALIBRATION_BINS = 15
ROUNDING = 1e-9  # of a share: 0.29 * 100 is less than 29
CONFUSION_CLASSES = 100  # of more, meta.json has no confusion matrix


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (..., K), float64, of logits (..., K); no logit is too large for it."""
    return np.exp(_log_softmax(logits))


def score(logits: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """All scores of one pass over a split, as plain numbers that ``json.dumps`` accepts.

    The predicted class is the one with the largest logit; of equal logits the first one counts
    as larger, here and in the top-5 accuracy. The macro averages are over the classes that are the
    true or the predicted one of any image, as scikit-learn's are; of such a class, what would
    divide by 0 is 0.

    Args:
        logits: (N, K), any float type.
        labels: (N,), integers from 0 to K - 1.
        classes: K names, in label order.

    Returns:
        ``images`` (N); ``accuracy``, ``accuracy_interval`` (see ``wilson_interval``),
        ``balanced_accuracy`` (the mean recall of the classes that have images),
        ``top5_accuracy`` (None if K <= 5), ``f1_macro``, ``precision_macro``, ``recall_macro``,
        all from 0 to 1; ``macro_classes``, over how many classes these three are averaged;
        ``loss``, the mean cross-entropy in nats; ``ece``, the expected calibration error from 0
        to 1; ``per_class``, a list of {``class``, ``images``, ``precision``, ``recall``, ``f1``},
        the last three None for a class that does not count in the averages; ``confusion``, K rows
        (true) of K counts (predicted).

    Raises:
        MaamError: no images, shapes or labels that do not fit together, or a logit that is not
            a finite float32.
    """
    logits, labels = _checked(np.asarray(logits), np.asarray(labels), len(classes))
    count = len(labels)
    log_probabilities = _log_softmax(logits)
    ranks = _ranks(logits, labels)
    predicted = logits.argmax(axis=1)
    confusion = np.bincount(labels * len(classes) + predicted, minlength=len(classes) ** 2)
    confusion = confusion.reshape(len(classes), len(classes))  # (true, predicted)
    hits, support, guesses = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    counts = support + guesses > 0  # (K,)
    precision, recall = _ratio(hits, guesses), _ratio(hits, support)
    f1 = _ratio(2 * hits, support + guesses)
    columns = zip(classes, support, counts, precision, recall, f1, strict=True)
    right = int((ranks == 0).sum())
    return {
        "images": count,
        "accuracy": right / count,
        "accuracy_interval": list(wilson_interval(right, count)),
        "balanced_accuracy": float(np.mean(recall[support > 0])),
        "top5_accuracy": int((ranks < 5).sum()) / count if len(classes) > 5 else None,
        "f1_macro": float(np.mean(f1[counts])),
        "precision_macro": float(np.mean(precision[counts])),
        "recall_macro": float(np.mean(recall[counts])),
        "macro_classes": int(counts.sum()),
        "loss": -float(log_probabilities[np.arange(count), labels].sum()) / count,
        "ece": _calibration_error(np.exp(log_probabilities.max(axis=1)), predicted == labels),
        "per_class": [
            {
                "class": str(name),
                "images": int(images),
                "precision": float(p) if counted else None,
                "recall": float(r) if counted else None,
                "f1": float(f) if counted else None,
            }
            for name, images, counted, p, r, f in columns
        ],
        "confusion": confusion.tolist(),
    }


def compact(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The scores without the confusion matrix, if that has more than 100 classes: to be kept."""
    return {
        key: value
        for key, value in scores.items()
        if key != "confusion" or len(value) <= CONFUSION_CLASSES
    }


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """Between what two accuracies the true one lies, with a confidence of 95 %.

    The score interval of E. B. Wilson, "Probable inference, the law of succession, and statistical
    inference", Journal of the American Statistical Association 22 (1927). It is of the images'
    number alone: another training, or images of another kind, may differ by more.

    Args:
        hits: right answers.
        count: images, at least 1.
    """
    z2 = NormalDist().inv_cdf(0.975) ** 2
    share = hits / count
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    reach = math.sqrt(z2 * (share * (1 - share) / count + z2 / (4 * count**2))) / (1 + z2 / count)
    # Where all answers are wrong, or all right, one end is exact but for rounding.
    return (0.0 if hits == 0 else centre - reach, 1.0 if hits == count else centre + reach)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Quotients (K,), float64; 0 where they would divide by 0."""
    return part / np.maximum(whole, 1)


def _checked(logits: np.ndarray, labels: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Float64 logits (N, K) and int64 labels (N,) that fit each other and ``width`` classes."""
    if logits.ndim != 2 or labels.ndim != 1 or len(logits) != len(labels):
        raise MaamError(
            f"logits {logits.shape} and labels {labels.shape} do not fit together: "
            "(images, classes) and (images,) are needed"
        )
    if len(labels) == 0:
        raise MaamError("there are no images to score: check that the split is not empty")
    if logits.shape[1] != width or width < 2:
        raise MaamError(
            f"the model has {logits.shape[1]} outputs and there are {width} class names: "
            "the two must be equal, and at least 2"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise MaamError(f"labels must be integers, not {labels.dtype}")
    if labels.min() < 0 or labels.max() >= width:
        raise MaamError(
            f"labels run from {labels.min()} to {labels.max()}, but {width} classes need "
            f"0 to {width - 1}: these images are not of the data set that the model knows"
        )
    # The float32 range: beyond it, differences of logits and so the loss could overflow.
    bad = ~(np.abs(logits) <= np.finfo(np.float32).max).all(axis=1)
    if bad.any():
        raise MaamError(
            f"{bad.sum()} of {len(bad)} images have logits that are not finite numbers "
            f"(first: image {bad.argmax()}): the weights are damaged or the training diverged"
        )
    return logits.astype(np.float64), labels.astype(np.int64)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities (..., K), float64. The largest logit becomes 0, so exp cannot overflow."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Place (N,) of the true class among the logits (N, K), 0 is best; ties in class order."""
    true = np.take_along_axis(logits, labels[:, None], axis=1)  # (N, 1)
    earlier = np.arange(logits.shape[1]) < labels[:, None]  # (N, K)
    return ((logits > true) | ((logits == true) & earlier)).sum(axis=1)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error from 0 to 1, defined as in ``score``: (N, K) and (N,)."""
    return _calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)


def _calibration_error(confidences: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error (Guo et al. 2017) of top probabilities (N,) and hits (N,).

    A bin holds the confidences in (low, high]. Its share of the images times its gap between
    accuracy and mean confidence is |hits - sum of confidences| / N, so N divides only once.
    """
    inner_edges = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]
    bins = np.digitize(confidences, inner_edges, right=True)
    gaps = np.bincount(bins, weights=correct - confidences, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(confidences))


def loss_and_accuracy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy in nats and accuracy from 0 to 1, defined as in ``score``."""
    log_probabilities = _log_softmax(logits)
    loss = -float(log_probabilities[np.arange(len(labels)), labels].sum()) / len(labels)
    return loss, int((logits.argmax(axis=1) == labels).sum()) / len(labels)


def best_epoch(history: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The row with the best validation accuracy; of equal ones, that with the lowest loss.

    None without validation images: then the last epoch is kept.
    """

    def rank(row: Mapping[str, Any]) -> tuple[float, float]:
        loss = row.get("val_loss")
        return row["val_accuracy"], -math.inf if loss is None else -loss

    measured = [row for row in history if row.get("val_accuracy") is not None]
    return max(measured, key=rank, default=None)
