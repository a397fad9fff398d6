"""Logits and labels -> scores. Every score is summed over all images first, divided once."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maam import checkpoint, frameworks
from maam.config import SOURCES, EvaluateConfig, TrainConfig, make_config
from maam.data import Dataset, load_dataset
from maam.data.transforms import Preprocessing
from maam.errors import MaamError
from maam.recipe import absolute
from maam.shipped import find_run

CALIBRATION_BINS = 15


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (..., K), float64, of logits (..., K); no logit is too large for it."""
    return np.exp(_log_softmax(logits))


def score(logits: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """All scores of one pass over a split, as plain numbers that ``json.dumps`` accepts.

    The predicted class is the one with the largest logit; of equal logits the first one counts
    as larger, here and in the top-5 accuracy. A class without images has precision, recall and
    F1 of 0 and counts in the macro averages.

    Args:
        logits: (N, K), any float type.
        labels: (N,), integers from 0 to K - 1.
        classes: K names, in label order.

    Returns:
        ``images`` (N); ``accuracy``, ``top5_accuracy`` (None if K <= 5), ``f1_macro``,
        ``precision_macro``, ``recall_macro``, all from 0 to 1; ``loss``, the mean cross-entropy
        in nats; ``ece``, the expected calibration error from 0 to 1; ``per_class``, a list of
        {``class``, ``images``, ``precision``, ``recall``, ``f1``}; ``confusion``, K rows (true)
        of K counts (predicted).

    Raises:
        MaamError: no images, shapes or labels that do not fit together, or a logit that is not
            a finite float32.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    logits, labels = _checked(np.asarray(logits), np.asarray(labels), len(classes))
    count = len(labels)
    log_probabilities = _log_softmax(logits)
    ranks = _ranks(logits, labels)
    predicted = logits.argmax(axis=1)
    every_class = range(len(classes))
    with warnings.catch_warnings():
        # Many classes and few images look like a regression to scikit-learn 1.6 and 1.7.
        warnings.filterwarnings("ignore", "The number of unique classes")
        by_class = precision_recall_fscore_support(
            labels,
            predicted,
            labels=every_class,
            zero_division=0,  # pyright: ignore[reportArgumentType]
        )
        confusion = confusion_matrix(labels, predicted, labels=every_class)
    precision, recall, f1, support = np.array(by_class)  # (4, K)
    columns = zip(classes, support, precision, recall, f1, strict=True)
    return {
        "images": count,
        "accuracy": int((ranks == 0).sum()) / count,
        "top5_accuracy": int((ranks < 5).sum()) / count if len(classes) > 5 else None,
        "f1_macro": float(np.mean(f1)),
        "precision_macro": float(np.mean(precision)),
        "recall_macro": float(np.mean(recall)),
        "loss": -float(log_probabilities[np.arange(count), labels].sum()) / count,
        "ece": _calibration_error(np.exp(log_probabilities.max(axis=1)), predicted == labels),
        "per_class": [
            {
                "class": str(name),
                "images": int(images),
                "precision": float(p),
                "recall": float(r),
                "f1": float(f),
            }
            for name, images, p, r, f in columns
        ],
        "confusion": confusion.tolist(),
    }


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


def evaluate(run: str | os.PathLike[str], **options: Any) -> dict[str, Any]:
    """Score a run folder's best weights, on the data it was trained on or on other images.

    Args:
        run: a run folder, as ``maam.train`` makes it.
        options: fields of ``EvaluateConfig``: ``data``, ``data_dir``, ``split``, ``batch_size``,
            ``framework``, ``device``.

    Returns:
        What ``score`` returns, and ``split``, ``run``, ``model``, ``data_source``; ``other_copy``
        says that shipped weights were scored on another copy of their data than their card has,
        such as the original of CIFAR-10.

    Example:
        >>> maam.evaluate("runs/digits-maam", split="val")["accuracy"]

    Raises:
        MaamError: bad options, a damaged run, data that is missing, has changed since the
            training, or has other classes or no images in this split.
    """
    config = make_config(EvaluateConfig, absolute(options))
    meta = checkpoint.read_meta(find_run(run))
    trained_with = meta["config"].get("framework", "mindspore")
    framework = frameworks.use(frameworks.choose(config.framework, trained_with))
    framework.set_device(config.device)
    net, meta = framework.load_model(run)
    dataset = dataset_of_run(meta, config)
    split = dataset.all if config.split == "all" else getattr(dataset, config.split)
    if not len(split):
        raise MaamError(f"--split {config.split}: {dataset.source} has no images in this split")
    preprocessing = Preprocessing.from_dict(meta["preprocessing"])
    logits = framework.compute_logits(net, split, preprocessing, config.batch_size)
    facts = {"split": config.split, "run": str(run), "model": meta["model"]}
    scores = score(logits, split.labels, dataset.classes)
    same = (config.data or meta["data"]) == meta["data"]
    other = bool(meta.get("shipped")) and same and dataset.digests() != meta["data_digests"]
    return {**facts, "data_source": dataset.source, "other_copy": other, **scores}


def dataset_of_run(meta: Mapping[str, Any], config: EvaluateConfig) -> Dataset:
    """The images a run was trained on, split as it was, or others with the same classes."""
    trained = make_config(TrainConfig, meta["config"])
    size = meta["preprocessing"]["size"][0]
    data = config.data or trained.data
    dataset = load_dataset(
        data,
        config.data_dir or trained.data_dir,
        None if data in SOURCES else size,
        trained.val_fraction,
        trained.seed,
    )
    if data == trained.data and config.split != "all":
        if trained.limit is not None:
            dataset = dataset.limit(trained.limit, trained.seed)
        # The test images of a shipped model are anyone's copy of them.
        if not meta.get("shipped") and dataset.digests() != meta.get("data_digests"):
            # Split anew, changed images would put some that were trained on among the others.
            raise MaamError(
                f"the images of {data} are not those the run was trained on: bring them back, or "
                "score them as new ones with --data PATH --split all"
            )
    if list(dataset.classes) != meta["classes"]:
        raise MaamError(
            f"--data {data} has the classes {_few(dataset.classes)}, the run has "
            f"{_few(meta['classes'])}: name images of the run's classes"
        )
    if dataset.image_shape != (*meta["preprocessing"]["size"], meta["preprocessing"]["channels"]):
        raise MaamError(f"--data {data} has images of another shape than the run was trained on")
    return dataset


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
