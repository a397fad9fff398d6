"""A finished run, scored on its own images or on others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from maam.core import frameworks
from maam.core.config import EvaluateConfig, TrainConfig, make_config
from maam.core.errors import MaamError
from maam.core.metrics import score
from maam.core.run_meta import RunMeta
from maam.core.signals import check_signals
from maam.data import Dataset, load_dataset
from maam.data.preprocessing import Preprocessing
from maam.data.sources import SOURCES
from maam.data.splits import limit
from maam.models.weights import find_run
from maam.training.options import absolute


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
    meta = find_run(run).read_meta()
    backend = frameworks.use(frameworks.choose(config.framework, meta.framework))
    backend.set_device(config.device)
    net, meta = backend.load_model(run)
    check_signals()
    dataset = dataset_of_run(meta, config)
    split = dataset.all if config.split == "all" else getattr(dataset, config.split)
    if not len(split):
        raise MaamError(f"`split={config.split}`: {dataset.source} has no images in this split")
    preprocessing = Preprocessing.from_dict(meta.preprocessing)
    logits = backend.compute_logits(net, split, preprocessing, config.batch_size)
    what = {"split": config.split, "run": str(run), "model": meta.model}
    scores = score(logits, split.labels, dataset.classes)
    same = (config.data or meta.data) == meta.data
    other = meta.shipped and same and dataset.digests() != meta.data_digests
    return {**what, "data_source": dataset.source, "other_copy": other, **scores}


def dataset_of_run(meta: RunMeta, config: EvaluateConfig) -> Dataset:
    """The images a run was trained on, split as it was, or others with the same classes."""
    trained = make_config(TrainConfig, meta.config)
    size = meta.preprocessing["size"][0]
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
            dataset = limit(dataset, trained.limit, trained.seed)
        # The test images of a shipped model are anyone's copy of them.
        if not meta.shipped and dataset.digests() != meta.data_digests:
            # Split anew, changed images would put some that were trained on among the others.
            raise MaamError(
                f"the images of {data} are not those the run was trained on: bring them back, or "
                "score them as new ones with `data=PATH` and `split=all`"
            )
    if dataset.classes != meta.classes:
        raise MaamError(
            f"`data={data}` has the classes {_few(dataset.classes)}, the run has "
            f"{_few(meta.classes)}: name images of the run's classes"
        )
    channels, height, width = meta.image_shape
    if dataset.image_shape != (height, width, channels):
        raise MaamError(f"`data={data}` has images of another shape than the run was trained on")
    return dataset


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
