"""Classify a folder of images on all processors of a machine, or of a Ray cluster.

    pip install '.[ray]'
    python examples/predict_ray.py RUN FOLDER ANSWERS.csv

RUN is a run folder, a shipped model or an exported ONNX file. The answers come in the order of the
files' names; a file that can't be read has a row with the reason. On a cluster, RUN and FOLDER lie
where all machines see them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ray  # pyright: ignore[reportMissingImports]

import maam
from maam.data.files.decoding import SUFFIXES
from maam.deploy.classifier import Classifier
from maam.deploy.formats import Prediction, save


class Answer:
    """Classifies files; each process loads the network once."""

    def __init__(self, run: str) -> None:
        self.classifier = Classifier.load(run)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        answers = list(maam.predict(self.classifier, map(Path, batch["file"])))
        return {
            "file": list(batch["file"]),
            "classes": [list(answer.classes) for answer in answers],
            "probabilities": [list(answer.probabilities) for answer in answers],
            "error": [answer.error or "" for answer in answers],
            "unknown": [answer.unknown for answer in answers],
        }


def predictions(run: str, folder: Path) -> Iterator[Prediction]:
    """An answer for every image file below a folder, in the order of their names."""
    files = sorted(str(file) for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    processes = max(1, int(ray.cluster_resources()["CPU"]))
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    rows = ray.data.from_items([{"file": file} for file in files]).map_batches(
        Answer, fn_constructor_args=(run,), batch_size=64, concurrency=processes, num_cpus=1
    )
    for row in rows.iter_rows():
        yield Prediction(
            row["file"],
            tuple(row["classes"]),
            tuple(row["probabilities"]),
            row["error"] or None,
            row["unknown"],
        )


if __name__ == "__main__":
    run, folder, answers = sys.argv[1:]
    ray.init(log_to_driver=False)
    read, failed = save(predictions(run, Path(folder)), "csv", Path(answers))
    print(f"{answers}: {read:,} images, {failed:,} that could not be read")
