"""The end of a run: score the best weights, export them, draw the plots, write the card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from maam import checkpoint, plots
from maam.config import CONFIG
from maam.data.transforms import augment
from maam.evaluate import score, softmax
from maam.files import write_atomic
from maam.job import Job
from maam.report import model_card


def finish_run(job: Job, framework: Any, history: list[dict[str, Any]]) -> dict[str, Any]:
    """Complete a run folder after training.

    Args:
        job: the run. Its test split is scored; the validation split stands in for an empty one.
        framework: ``maam.mindspore`` or ``maam.torch``.
        history: one row per epoch.

    Returns:
        The scores.
    """
    run, dataset, preprocessing = job.folder, job.dataset, job.preprocessing
    net, _ = framework.load_model(run)
    split = dataset.test if len(dataset.test) else dataset.val
    logits = framework.compute_logits(net, split, preprocessing)
    scores = score(logits, split.labels, dataset.classes)
    height, width = preprocessing.size
    shape = (preprocessing.channels, height, width)
    folded = framework.fuse(net)
    error = framework.export_onnx(folded, shape, run / checkpoint.MODEL, net)
    deployed = {
        "parameters": framework.count_parameters(folded),
        "macs": framework.count_macs(folded, shape),
    }

    folder = run / "plots"
    folder.mkdir(exist_ok=True)
    plots.curves(history, folder / "curves.png")
    plots.confusion(scores["confusion"], dataset.classes, folder / "confusion.png")
    some = dataset.train.take(np.random.default_rng(0).permutation(len(dataset.train))[:32])
    images = augment(some.images, job.augmentation.kind, np.random.default_rng(0))
    mean, std = preprocessing.mean, preprocessing.std
    plots.batch(
        preprocessing(images), some.labels, dataset.classes, folder / "batch.png", mean, std
    )
    plots.mistakes(
        split.images,
        split.labels,
        softmax(logits),
        split.names,
        dataset.classes,
        folder / "mistakes.png",
    )
    plots.agent_weights(history, folder / "agent_weights.png")

    meta = {
        **job.meta,
        "metrics": {"split": "test" if split is dataset.test else "val", **scores},
        "epochs": len(history),
        "seconds": round(sum(row["seconds"] for row in history), 1),
        "deployed": deployed,
        "export_error": error,
    }
    checkpoint.write_meta(run, meta)
    command = commands(f"maam train --recipe {CONFIG}", meta)
    write_atomic(run / checkpoint.CARD, model_card(meta, scores, history, command))
    return scores


def commands(first: str, meta: Mapping[str, Any]) -> str:
    """What repeats a run: a command, and one more for each time that it was given other epochs.

    Args:
        first: the command, as if the run had been trained in one go.
        meta: that of the run.
    """
    stages = meta.get("stages", [])
    if not stages:
        return first
    planned = [*(stage["epochs"] for stage in stages), meta["config"]["epochs"]]
    lines = [f"{first} --epochs {planned[0]} --out RUN"]
    lines += [f"maam train --resume RUN --epochs {epochs}" for epochs in planned[1:]]
    for number, stage in enumerate(stages):
        if stage["until"] < stage["epochs"]:
            lines[number] += f"    # was stopped after epoch {stage['until']}"
    return "\n".join(lines)
