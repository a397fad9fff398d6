"""Fine-tuning where rounding alone loses too much: on training images, chosen by validation ones.

PyTorch computes it (``maam.torch.rounding``), also for runs that MindSpore has trained: weight
files are the same in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np

from maam.core import frameworks
from maam.core.config import EvaluateConfig, make_config
from maam.core.errors import MaamError
from maam.core.metrics import softmax
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.core.signals import check_signals
from maam.data import Split
from maam.data.fingerprints import fingerprints
from maam.data.preprocessing import Preprocessing
from maam.data.unseen import choose_images
from maam.deploy.int8 import Int8Network
from maam.deploy.layers import LayeredNetwork
from maam.deploy.quantization import with_limits

FEWEST = 32  # images to learn from, and to choose by
_SHARE = 10  # of training images, one in so many is held out where there is no validation split
_BATCH = 250


class _Tuner(Protocol):
    def tune_for_int8(
        self,
        network: LayeredNetwork,
        integers: Int8Network,
        split: Split,
        preprocessing: Preprocessing,
        epochs: int,
    ) -> Iterator[LayeredNetwork]: ...


def fine_tuned(
    network: LayeredNetwork,
    limits: Sequence[Sequence[float]],
    preprocessing: Preprocessing,
    images: tuple[Split, Split],
    epochs: int,
) -> tuple[Int8Network, int]:
    """The network in integers that is best on validation images, before or after fine-tuning.

    Args:
        network: in floating point; it stays as it is.
        limits: of the grids of its maps, as ``quantization.largest_values``; they stay too.
        preprocessing: of its images.
        images: to learn from, and to choose by.
        epochs: at most.

    Returns:
        It, and the epochs that it has learned: 0 if none has helped.
    """
    frameworks.use("torch").set_device("auto")
    tuner = cast(_Tuner, import_module("maam.torch.rounding"))
    train, held_out = images
    best = with_limits(network, preprocessing, limits)
    best_score, kept = _score(best, held_out), 0
    tuned = tuner.tune_for_int8(network, best, train, preprocessing, epochs)
    for epoch, each in enumerate(tuned, 1):
        integers = with_limits(each, preprocessing, limits)
        score = _score(integers, held_out)
        if score > best_score:
            best, best_score, kept = integers, score, epoch
    return best, kept


def tuning_images(
    folder: RunFolder, meta: RunMeta, where: Mapping[str, Any], scored: Split
) -> tuple[Split, Split]:
    """Images to learn from and to choose by, without those that are scored.

    Those of the run's validation split choose; without one, some of the training images.

    Args:
        folder: the run.
        meta: of it.
        where: the options ``data`` and ``data_dir``.
        scored: the images that the report is of.

    Raises:
        MaamError: there are too few.
    """
    seen = fingerprints(scored)

    def images(split: str) -> Split:
        chosen = choose_images(folder, meta, make_config(EvaluateConfig, {**where, "split": split}))
        return chosen.split.take(np.flatnonzero(~np.isin(fingerprints(chosen.split), seen)))

    train = images("train")
    order = np.random.default_rng(1).permutation(len(train))
    held_out = train.take(np.sort(order[: len(train) // _SHARE]))
    with suppress(MaamError):
        if len(own := images("val")) >= FEWEST:
            return _enough(train), own
    return _enough(train.take(np.sort(order[len(train) // _SHARE :]))), _enough(held_out)


def _enough(split: Split) -> Split:
    if len(split) < FEWEST:
        raise MaamError(
            f"`finetune_epochs`: {len(split)} images are too few to learn from or to choose by: "
            f"{FEWEST} are needed"
        )
    return split


def _score(network: Int8Network, split: Split) -> tuple[float, float]:
    """Accuracy, and of equal ones the mean log-likelihood of the labels."""
    right, likelihood = 0, 0.0
    for pixels, labels in split.batches(_BATCH):
        values = network.values(pixels)
        right += int((values.argmax(1) == labels).sum())
        likely = softmax(values)[np.arange(len(labels)), labels]
        likelihood += float(np.log(np.maximum(likely, 1e-30)).sum())
        check_signals()
    return right / len(split), likelihood / len(split)
