"""The end of a run: score the best weights, export them, draw the plots, write the card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from maam import checkpoint, plots
from maam.config import CONFIG
from maam.data import Dataset
from maam.data.pipeline import train_batches
from maam.data.transforms import Preprocessing
from maam.evaluate import compute_logits, score, softmax
from maam.export import export_onnx
from maam.files import write_atomic
from maam.report import model_card

if TYPE_CHECKING:
    from mindspore import nn


def finish_run(
    run: Path,
    meta: dict[str, Any],
    net: nn.Cell,
    dataset: Dataset,
    preprocessing: Preprocessing,
    history: list[dict[str, Any]],
    augment: str,
) -> dict[str, Any]:
    """Complete a run folder after training.

    Args:
        run: the folder.
        meta: its facts so far; the final ones are written to meta.json.
        net: the network with the best weights.
        dataset: where ``test`` is scored; the validation split stands in for an empty one.
        preprocessing: how pixels become numbers.
        history: one row per epoch.
        augment: the augmentation, for the plot of a batch.

    Returns:
        The scores.
    """
    split = dataset.test if len(dataset.test) else dataset.val
    logits = compute_logits(net, split, preprocessing)
    scores = score(logits, split.labels, dataset.classes)
    height, width = preprocessing.size
    error = export_onnx(net, (preprocessing.channels, height, width), run / "model.onnx")

    folder = run / "plots"
    folder.mkdir(exist_ok=True)
    plots.curves(history, folder / "curves.png")
    plots.confusion(scores["confusion"], dataset.classes, folder / "confusion.png")
    batch_size = min(32, len(dataset.train))
    images, labels = next(
        iter(train_batches(dataset.train, preprocessing, batch_size, augment, (0, 0), 1))
    )
    mean, std = preprocessing.mean, preprocessing.std
    plots.batch(
        images.asnumpy(), labels.asnumpy(), dataset.classes, folder / "batch.png", mean, std
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
        **meta,
        "metrics": {"split": "test" if split is dataset.test else "val", **scores},
        "epochs": len(history),
        "seconds": round(sum(row["seconds"] for row in history), 1),
        "export_error": error,
    }
    checkpoint.write_meta(run, meta)
    command = f"maam train --recipe {CONFIG}"
    write_atomic(run / "README.md", model_card(meta, scores, history, command))
    return scores
