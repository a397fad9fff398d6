"""The end of a run: score the best weights, export them, draw plots, write card and report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from maam.core.errors import MaamError
from maam.core.files import make_folder, write_atomic
from maam.core.frameworks import EXTRAS, Backend, require
from maam.core.metrics import compact, score, softmax
from maam.core.signals import check_signals
from maam.data import Split
from maam.data.augment import augment
from maam.data.fingerprints import fingerprints
from maam.data.splits import spread
from maam.training.calibration import calibrate
from maam.training.commands import repetition
from maam.training.diagnosis import doubts
from maam.training.events import Note
from maam.training.run import TrainingRun

COMPARED = 256  # images on which model.onnx is compared with the network
NAMED = 5  # layers that are named
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
    split = dataset.scored
    logits = backend.compute_logits(net, split, preprocessing)
    scores = score(logits, split.labels, dataset.classes)
    check_signals()
    folded = backend.fuse(net)
    folded_layers = _foldable(run, backend, net) if run.meta.own else ()
    meta = replace(
        run.meta,
        metrics={"split": "test" if split is dataset.test else "val", **compact(scores)},
        epochs=len(history),
        seconds=round(sum(row["seconds"] for row in history), 1),
        operators=run.meta.operators or operators_used(run, backend),
        folded_layers=folded_layers,
        deployed={
            "parameters": backend.count_parameters(folded),
            "macs": backend.count_macs(folded, run.meta.image_shape),
        },
    )
    images = spread(split, COMPARED).pixels()
    error = _export(replace(run, meta=meta), backend, folded, net, images)
    deployed = meta.deployed if error is not None else {}
    meta = replace(meta, export_error=error, deployed=deployed)
    check_signals()
    draw_plots(run, logits, scores, history)
    folder.write_meta(meta)
    folder.previous.unlink(missing_ok=True)
    again = f"../{folder.path.resolve().name}-again"
    command = repetition(meta, folder.config.name, again)
    write_atomic(folder.card, model_card(meta, scores, history, command))
    doubted = list(doubts(scores, history, _copies(run, split)))
    write_report(run, backend, net, logits, scores, history, meta, doubted)
    for doubt in doubted:
        run.watch(Note(doubt))
    return scores


def _copies(run: TrainingRun, split: Split) -> int:
    """How many images of the scored split are also in another one, or were its teacher's."""
    learned = run.folder.read_images()
    if split is run.dataset.val:
        learned.pop("val", None)
    known = [numbers for numbers in learned.values() if len(numbers)]
    return int(np.isin(fingerprints(split), np.concatenate(known)).sum()) if known else 0


def _export(
    run: TrainingRun, backend: Backend, folded: Any, net: Any, images: np.ndarray
) -> float | None:
    """Write model.onnx; where that can't be done, say so, and give None."""
    model = run.folder.model
    try:
        return backend.export_model(folded, run.meta, images, model, net)
    except MaamError as error:
        for file in (model, run.folder.golden):
            file.unlink(missing_ok=True)
        run.watch(Note(f"no {model.name}, so `maam predict` can't take this run: {error}"))
        return None


def _foldable(run: TrainingRun, backend: Backend, net: Any) -> tuple[str, ...]:
    """What of a network of one's own is folded, which the watcher is told."""
    layers = tuple(backend.foldable(net))
    some = ", ".join(layers[:NAMED]) + (f" and {len(layers) - NAMED} more" * (len(layers) > NAMED))
    text = f"folds {some}; all else stays as it is" if layers else "nothing in it folds"
    run.watch(Note(f"{run.meta.model}: {text}"))
    return layers


def operators_used(run: TrainingRun, backend: Backend) -> str:
    """``native`` if the training that this process has done used operators of ours."""
    return "native" if backend.native_operators(run.net) else "framework"


def draw_plots(
    run: TrainingRun, logits: np.ndarray, scores: dict[str, Any], history: list[dict[str, Any]]
) -> None:
    """The pictures of a run folder: curves, confusion, a batch, mistakes, agents' weights."""
    from maam.report import gallery, plots

    dataset, preprocessing, folder = run.dataset, run.preprocessing, run.folder.plots
    split = dataset.scored
    make_folder(folder)
    plots.curves(history, folder / "curves.png")
    plots.confusion(scores["confusion"], dataset.classes, folder / "confusion.png")
    check_signals()
    some = dataset.train.take(np.random.default_rng(0).permutation(len(dataset.train))[:32])
    images = augment(some.pixels(), run.augmentation, np.random.default_rng(0))
    mean, std = preprocessing.mean, preprocessing.std
    gallery.batch(
        preprocessing(images), some.labels, dataset.classes, folder / "batch.png", mean, std
    )
    check_signals()
    gallery.mistakes(
        lambda places: split.take(places).pixels(),
        split.labels,
        softmax(logits),
        split.names,
        dataset.classes,
        folder / "mistakes.png",
    )
    check_signals()
    plots.agent_weights(history, folder / "agent_weights.png")
