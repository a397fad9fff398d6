"""The report of a network whose answers are made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from maam.core.metrics import score
from maam.core.run_meta import RunMeta
from maam.report.content import AgentView, Example, Report
from maam.report.pictures import heat

HOSTILE = (
    "<script>alert(1)</script>",
    "a \"quoted\" & 'odd' one",
    "two\nlines",
    "\u3000空",
    "\udcff",
)


def example(name: str, true: str, answer: str, probability: float) -> Example:
    picture = Image.new("RGB", (20, 30), "red")
    return Example(name, true, answer, probability, picture, heat(picture, np.eye(4)), True)


def make_report(classes: tuple[str, ...], matrix: np.ndarray, **changes) -> Report:
    """Of a network that gave the answers in ``matrix``."""
    rows, columns = np.indices(matrix.shape)
    labels, answers = (each.ravel().repeat(matrix.ravel()) for each in (rows, columns))
    scores = score(4 * np.eye(len(classes))[answers], labels, classes)
    meta = RunMeta(
        model="maamnet-nano",
        classes=classes,
        preprocessing={"size": [32, 32], "channels": 3, "mean": [0] * 3, "std": [1] * 3},
        parameters=93_582,
        macs=8_000_000,
        data="/data/photos",
        data_source="images in /data/photos",
        metrics={"split": "test", **scores},
        epochs=2,
        seconds=61.2,
        deployed={"parameters": 80_000, "macs": 8_000_000},
    )
    history = [
        {
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "train_accuracy": 0.5,
            "val_loss": None,
            "val_accuracy": None,
            "agent_weights": [[0.25, 0.75]],
        }
        for epoch in (1, 2)
    ]
    shown = example("right.png", classes[0], classes[0], 0.9)
    return Report(
        meta=meta,
        scores=scores,
        history=history,
        counts={"train": [7] * len(classes), "val": [0] * len(classes), "test": matrix.sum(1)},
        skipped=0,
        mistakes=[example(f"{n}.png", classes[0], classes[1], p) for n, p in ((1, 0.99), (2, 0.6))],
        exact=True,
        agents=AgentView(shown, ("agent 1, 3x3", "agent 2, 5x5"), np.stack([np.eye(4)] * 2)),
        folder=Path("runs/my photos"),
        model_bytes=336_332,
        **changes,
    )
