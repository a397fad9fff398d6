"""The report of a network whose answers are made up, and how a test reads a page."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from maam.core.metrics import score
from maam.core.run_meta import RunMeta
from maam.report.content import AgentView, Example, Report
from maam.report.data_content import DataReport, Shown
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


def shown(name: str) -> Shown:
    return Shown(name, f"{name}, train", Image.new("RGB", (20, 30), "red"))


def make_data_report(classes: tuple[str, ...], **changes) -> DataReport:
    """Of a data set with ten training images a class and two test images."""
    report = DataReport(
        name=classes[0],
        source=f"images in {classes[0]}",
        counts={"train": dict.fromkeys(classes, 10), "val": {}, "test": dict.fromkeys(classes, 2)},
        examples={name: [shown(name), replace(shown(name), picture=None)] for name in classes},
        numbers=[("1,234", "images")],
        properties=[("Formats", f"JPEG 9, {classes[0]} 3")],
        findings=[],
        unreadable=[],
        refusals=[],
        advice=[],
        commands=[("Train", f"maam train {classes[0]}")],
    )
    return replace(report, **changes)


class Reader(HTMLParser):
    """The text of a page, its tags and their attributes; complains of tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).replace("\xa0", " ").split())
