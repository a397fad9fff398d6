"""The end of a run: score the best weights, export them, draw plots, write card and report."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import numpy as np

from maam.core.files import make_folder, write_atomic
from maam.core.frameworks import EXTRAS, Backend, require
from maam.core.metrics import compact, score, softmax
from maam.core.run_meta import RunMeta
from maam.core.signals import check_signals
from maam.data.augment import augment
from maam.training.calibration import calibrate
from maam.training.diagnosis import doubts
from maam.training.events import Note
from maam.training.run import TrainingRun

NEEDS = {
    "mindspore": ("scikit-learn", "matplotlib", "onnx"),
    "torch": ("scikit-learn", "matplotlib", "onnx", "onnxscript"),
}


def check_packages(framework: str) -> None:
    """Check, before the training, that all which its end needs is installed.

    Raises:
        MaamError: a package is missing.
    """
    require("training", EXTRAS[framework], *NEEDS[framework])


def finalize(run: TrainingRun, backend: Backend, history: list[dict[str, Any]]) -> dict[str, Any]:
    """Complete a run folder after training.

    Args:
        run: the training. Its test split is scored; the validation split stands in for an empty
            one.
        backend: the framework.
        history: one row per epoch.

    Returns:
        The scores.
    """
    from maam.report.card import model_card
    from maam.training.reporting import write_report

    folder, dataset, preprocessing = run.folder, run.dataset, run.preprocessing
    run = replace(run, meta=calibrate(run, backend))
    net, _ = backend.load_model(folder.path)
    split = dataset.test if len(dataset.test) else dataset.val
    logits = backend.compute_logits(net, split, preprocessing)
    scores = score(logits, split.labels, dataset.classes)
    check_signals()
    shape = run.meta.image_shape
    folded = backend.fuse(net)
    error = backend.export_onnx(folded, shape, folder.model, net)
    check_signals()
    draw_plots(run, logits, scores, history)
    meta = replace(
        run.meta,
        metrics={"split": "test" if split is dataset.test else "val", **compact(scores)},
        epochs=len(history),
        seconds=round(sum(row["seconds"] for row in history), 1),
        operators=run.meta.operators or operators_used(run, backend),
        deployed={
            "parameters": backend.count_parameters(folded),
            "macs": backend.count_macs(folded, shape),
        },
        export_error=error,
    )
    folder.write_meta(meta)
    out = shlex.quote(f"../{folder.path.resolve().name}-again")
    command = commands(f"maam train --recipe {folder.config.name}", meta, out)
    write_atomic(folder.card, model_card(meta, scores, history, command))
    write_report(run, backend, net, logits, scores, history, meta)
    for doubt in doubts(scores, history):
        run.watch(Note(doubt))
    return scores


def operators_used(run: TrainingRun, backend: Backend) -> str:
    """``native`` if the training that this process has done used operators of ours."""
    return "native" if backend.native_operators(run.net) else "framework"


def draw_plots(
    run: TrainingRun, logits: np.ndarray, scores: dict[str, Any], history: list[dict[str, Any]]
) -> None:
    """The pictures of a run folder: curves, confusion, a batch, mistakes, agents' weights."""
    from maam.report import plots

    dataset, preprocessing, folder = run.dataset, run.preprocessing, run.folder.plots
    split = dataset.test if len(dataset.test) else dataset.val
    make_folder(folder)
    plots.curves(history, folder / "curves.png")
    plots.confusion(scores["confusion"], dataset.classes, folder / "confusion.png")
    check_signals()
    some = dataset.train.take(np.random.default_rng(0).permutation(len(dataset.train))[:32])
    images = augment(some.pixels(), run.augmentation.kind, np.random.default_rng(0))
    mean, std = preprocessing.mean, preprocessing.std
    plots.batch(
        preprocessing(images), some.labels, dataset.classes, folder / "batch.png", mean, std
    )
    check_signals()
    plots.mistakes(
        split.pixels(),
        split.labels,
        softmax(logits),
        split.names,
        dataset.classes,
        folder / "mistakes.png",
    )
    check_signals()
    plots.agent_weights(history, folder / "agent_weights.png")


def commands(first: str, meta: RunMeta, out: str = "") -> str:
    """What repeats a run: a command, and one more for each time that it was given other epochs.

    Args:
        first: the command, as if the run had been trained in one go.
        meta: that of the run.
        out: the new run folder, as a shell takes it; RUN, if it must have a name, when empty.
    """
    if not meta.stages:
        return f"{first} --out {out}" if out else first
    out = out or "RUN"
    planned = [*(stage["epochs"] for stage in meta.stages), meta.config["epochs"]]
    lines = [f"{first} --epochs {planned[0]} --out {out}"]
    lines += [f"maam train --resume {out} --epochs {epochs}" for epochs in planned[1:]]
    for number, stage in enumerate(meta.stages):
        if stage["until"] < stage["epochs"]:
            lines[number] += f"    # was stopped after epoch {stage['until']}"
    return "\n".join(lines)
