"""Write the ONNX files of the shipped models anew, from their weights, and what their cards say.

    python benchmarks/export_shipped.py            # all of them
    python benchmarks/export_shipped.py maamnet-nano --data-dir ../data

Needs CIFAR-10 and PyTorch. Run it after the weights or the form of the file have changed. The
folded weights are rounded to float16, as the file stores them; the file is compared with that
network, and scored on all test images without a framework. The card and meta.json then state that
score.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from maam import evaluate
from maam.core import frameworks
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.core.frameworks import Backend
from maam.core.run_folder import RunFolder
from maam.data import load_dataset
from maam.data.splits import spread
from maam.deploy.onnx_writing import IMAGES
from maam.models.weights import CIFAR10, shipped, shipped_run
from maam.report.markdown import markdown_table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--data-dir", type=Path)
    given = parser.parse_args()
    try:
        for model in given.models or shipped():
            accuracy = renew(shipped_run(model), given.data_dir)
            print(f"{model}: {accuracy:.4f} on the test images")
    except MaamError as error:
        print(f"export_shipped: {error}", file=sys.stderr)
        sys.exit(2)


def renew(folder: RunFolder, data_dir: Path | None) -> float:
    """Write a shipped model's ONNX file and card anew; its accuracy."""
    backend = frameworks.use("torch")
    backend.set_device("CPU")
    with tempfile.TemporaryDirectory(dir=folder.path.parent) as scratch:
        trial = RunFolder(Path(scratch) / folder.path.name)
        shutil.copytree(folder.path, trial.path)
        scores = write_file(trial, backend, data_dir)
        text = renewed_card(folder.card.read_text(encoding="utf-8"), scores)
        for made, kept in ((trial.model, folder.model), (trial.golden, folder.golden)):
            write_atomic(kept, made.read_bytes())
        folder.write_meta(trial.read_meta())
        write_atomic(folder.card, text)
    return scores["accuracy"]


def write_file(folder: RunFolder, backend: Backend, data_dir: Path | None) -> dict[str, Any]:
    """Write model.onnx in a shipped model's folder, and its scores into meta.json.

    Returns:
        The scores of the file on the test images.

    Raises:
        MaamError: the images are not those that it was trained on, or the file does not compute
            what the framework does.
    """
    net, meta = backend.load_model(folder.path)
    folded = backend.fuse(net)
    weights = {name: rounded(array) for name, array in backend.get_weights(folded).items()}
    backend.set_weights(folded, weights, "the rounded weights")
    images = spread(load_dataset(CIFAR10, data_dir, None, 0.0).test, IMAGES).pixels()
    backend.export_model(folded, meta, images, folder.model)
    scores = evaluate(folder.path, data_dir=data_dir, framework="onnx")
    if scores["other_copy"]:
        raise MaamError(f"{scores['data_source']}: not the images that the card is of")
    metrics = {key: scores[key] for key in scores if key not in ("run", "confusion")}
    meta = replace(meta, metrics=metrics)
    folder.write_meta(meta)
    backend.export_model(folded, meta, images, folder.model)  # now with its score
    return scores


def rounded(array: np.ndarray) -> np.ndarray:
    """Weights rounded to float16, vectors as they are; float32."""
    return array.astype(np.float16 if array.ndim > 1 else np.float32).astype(np.float32)


def score_rows(scores: Mapping[str, Any]) -> dict[str, str]:
    """What a card says of the file: name -> value."""
    return {
        "Test accuracy, `model.onnx`": f"{100 * scores['accuracy']:.2f} %",
        "Macro F1": f"{100 * scores['f1_macro']:.2f} %",
        "Calibration error (ECE, 15 bins)": f"{100 * scores['ece']:.2f} %",
        "Cross-entropy": f"{scores['loss']:.4f}",
    }


def class_table(scores: Mapping[str, Any]) -> str:
    """Precision, recall and F1 of each class, in Markdown."""
    return markdown_table(
        ("Class", "Precision", "Recall", "F1"),
        (
            (row["class"], *(f"{100 * row[key]:.2f} %" for key in ("precision", "recall", "f1")))
            for row in scores["per_class"]
        ),
    )


def renewed_card(card: str, scores: Mapping[str, Any]) -> str:
    """A card of ``ship.py`` with the scores of a new file."""
    card = re.sub(r"^\| Test accuracy, these weights \|.*\n", "", card, flags=re.MULTILINE)
    for name, value in score_rows(scores).items():
        row = re.compile(rf"^\| {re.escape(name)} \|.*$", re.MULTILINE)
        if not row.search(card):
            raise MaamError(f"the card has no row {name!r}: write it anew with ship.py")
        card = row.sub(lambda _, text=f"| {name} | {value} |": text, card)
    return re.sub(
        r"\| Class \| Precision .*?\n\n", f"{class_table(scores)}\n\n", card, flags=re.DOTALL
    )


if __name__ == "__main__":
    main()
