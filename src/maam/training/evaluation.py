"""A finished run, scored on its own images or on others."""

from __future__ import annotations

import os
from typing import Any

from maam.core import frameworks
from maam.core.config import EvaluateConfig, make_config
from maam.core.errors import MaamError
from maam.core.metrics import score
from maam.core.run_folder import RunFolder
from maam.core.signals import check_signals
from maam.data.preprocessing import Preprocessing
from maam.data.unseen import choose_images
from maam.models.own import framework_for
from maam.models.weights import find_run
from maam.training.options import absolute


def evaluate(run: str | os.PathLike[str], model: Any = None, **options: Any) -> dict[str, Any]:
    """Score a run, on the data it was trained on or on other images.

    What is scored is ``model.onnx``, which is what is deployed; with ``framework`` or ``device``
    given, or without that file, the best weights.

    Args:
        run: a run folder, as ``maam.train`` makes it, or the ONNX file of one.
        model: the network, for a run of a network of one's own. It gets the run's weights.
        options: fields of ``EvaluateConfig``: ``data``, ``data_dir``, ``split``, ``batch_size``,
            ``framework``, ``device``.

    Returns:
        What ``score`` returns, and

        - ``split``: what was scored; ``all`` for other data without split folders;
        - ``run``, ``model``, ``data_source``;
        - ``other_copy``: whether shipped weights were scored on another copy of their data than
            their card has, such as the original of CIFAR-10;
        - ``seen``: how many images of the split the run was trained or validated with, or a teacher
            of it; None if it does not record that. Images are compared by their pixels;
        - ``left_out``: how many of those are not scored: all, but 0 for the run's own data;
        - ``unreadable``: a list of {``file``, ``reason``};
        - ``notes``: what else a person should know, such as files that are not used.

    Example:
        >>> maam.evaluate("runs/digits-maam", split="val")["accuracy"]

    Raises:
        MaamError: bad options, a damaged run, a network that is missing or another one, data that
            is missing, has changed since the training, has other classes, or has no images in this
            split that the run has not seen.
    """
    config = make_config(EvaluateConfig, absolute(options))
    backend = frameworks.use_for_inference(_chosen(find_run(run), model, config))
    backend.set_device(config.device)
    net, meta = backend.load_model(run, model)
    check_signals()
    images = choose_images(find_run(run), meta, config)
    preprocessing = Preprocessing.from_dict(meta.preprocessing)
    logits = backend.compute_logits(net, images.split, preprocessing, config.batch_size)
    same = (config.data or meta.data) == meta.data
    return {
        "split": images.name,
        "run": str(run),
        "model": meta.model,
        "data_source": images.source,
        "other_copy": meta.shipped and same and not images.own,
        "seen": images.seen,
        "left_out": images.left_out,
        "unreadable": [{"file": name, "reason": reason} for name, reason in images.unreadable],
        "notes": list(images.notes),
        **score(logits, images.split.labels, meta.classes),
    }


def _chosen(run: RunFolder, model: Any, config: EvaluateConfig) -> str:
    """What scores: ``onnx``, ``mindspore`` or ``torch``."""
    if run.path.is_file():
        if config.framework not in ("auto", "onnx"):
            raise MaamError(
                f"`framework={config.framework}`: {run} is a file, which ONNX Runtime scores: name "
                "its run folder"
            )
        return "onnx"
    meta = run.read_meta()
    if config.framework == "onnx":
        return "onnx"
    usual = config.framework == "auto" and config.device in ("auto", "CPU")
    if usual and model is None and run.model.exists():
        return "onnx"
    return framework_for(model, config.framework, meta.framework)
