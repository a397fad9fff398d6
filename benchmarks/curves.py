"""How accuracy grows with the time of training: the curves of the kept records.

    python benchmarks/curves.py    # results/campaign -> docs/curves.md, docs/curves.png

A record is a folder with the meta.json and metrics.csv of a finished run.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from maam.core import frameworks
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.report.markdown import code, markdown_table
from maam.report.plots import COLOURS, DPI

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "results" / "campaign"
GOAL = ("maamnet-base", 94.0)
LONG = 200  # epochs


class Record(NamedTuple):
    """A training: its folder's name, its metadata, and a value for each epoch."""

    name: str
    meta: RunMeta
    hours: list[float]  # since the start
    accuracies: list[float]  # %, of augmented training images

    @property
    def tests(self) -> list[tuple[int, float]]:
        """Epochs and accuracy on the test images in %, whenever that was measured."""
        stages = [stage for stage in self.meta.stages if "accuracy" in stage]
        scores = [(stage["until"], 100 * stage["accuracy"]) for stage in stages]
        last = (self.meta.metrics or {})["accuracy"]
        return [*scores, (len(self.hours), 100 * last)]


def main() -> None:
    try:
        records = read(RECORDS)
    except MaamError as error:
        print(f"curves: {error}", file=sys.stderr)
        sys.exit(2)
    text, picture = page(records), plot(records)
    write_atomic(ROOT / "docs" / "curves.md", text)
    write_atomic(ROOT / "docs" / "curves.png", picture)


def read(folder: Path) -> list[Record]:
    """All records, the smallest network first.

    Raises:
        MaamError: one is not finished, or none is of the network that the goal is for.
    """
    records = []
    for path in sorted(folder.glob("*/metrics.csv")):
        run = RunFolder(path.parent)
        with run.history_csv.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        seconds, hours = 0.0, []
        for row in rows:
            seconds += float(row["seconds"])
            hours.append(seconds / 3600)
        accuracies = [100 * float(row["train_accuracy"]) for row in rows]
        meta = run.read_meta()
        if not meta.metrics:
            raise MaamError(f"{run} is no finished run: bring its scores, or take it out")
        records.append(Record(run.path.name, meta, hours, accuracies))
    if all(record.meta.model != GOAL[0] for record in records):
        raise MaamError(f"{folder} has no record of {GOAL[0]}")
    return sorted(records, key=lambda record: record.meta.deployed["parameters"])


def page(records: Sequence[Record]) -> str:
    """docs/curves.md."""
    table = markdown_table(
        (
            *("Training", "Framework", "Threads", "Parameters", "Began with", "Teacher"),
            *("Epochs", "Hours", "Training accuracy %", "Test accuracy %"),
        ),
        (
            (
                record.name,
                frameworks.NAMES[record.meta.framework],
                record.meta.environment.get("threads", "not recorded"),
                f"{record.meta.deployed['parameters']:,}",
                began_with(record.meta.config),
                Path(record.meta.config.get("teacher") or "-").name,
                str(epochs),
                f"{record.hours[epochs - 1]:.2f}",
                f"{record.accuracies[epochs - 1]:.2f}",
                f"{accuracy:.2f}",
            )
            for record in records
            for epochs, accuracy in record.tests
        ),
    )
    return (
        "\n\n".join(
            (
                "# Accuracy and the time of training",
                "Written by `python benchmarks/curves.py`, from "
                "[results/campaign](../results/campaign). Images: "
                f"{records[0].meta.data_source}. Machine: "
                f"{records[0].meta.environment['cpu']}, two trainings at a time, each "
                "`OMP_NUM_THREADS=1 taskset -c CORE maam train --recipe recipes/RECIPE.toml --seed "
                "SEED` (older records do not hold the number of threads), or one with two threads. "
                "The hours of the training that gave the weights to begin with, and of the teacher "
                "come on top. "
                "Those of both MobileNetV2 include 0.3 without training. Training accuracy is that "
                "of the augmented images, during the epoch. A training with two lines was given "
                "more epochs when it had ended: `--epochs` of its first line, then `maam train "
                "--resume RUN --epochs` of its second. In each part the learning rate falls to 0.",
                "![Training accuracy by epoch and by hour](curves.png)",
                table,
                *outlook(next(r for r in records if r.meta.model == GOAL[0])),
            )
        )
        + "\n"
    )


def began_with(config: Mapping[str, Any]) -> str:
    """The training whose weights a training began with; "-" for random ones."""
    return Path(config["weights"]).name if config.get("pretrained") else "-"


def outlook(record: Record) -> tuple[str, ...]:
    """What the curve of the largest network says about its goal."""
    model, goal = GOAL
    *before, (epochs, accuracy) = record.tests
    missing = goal - accuracy
    if missing <= 0:
        return (f"`{model}` has reached our goal for it, {goal:.1f} %, with {accuracy:.2f} %.",)
    gain = "".join(f"After {n} epochs it was {less:.2f} %. " for n, less in before)
    hours = record.hours[-1] / epochs * LONG
    return (
        f"## What {goal:g} % would need",
        f"Our goal for `{model}` is {goal:.1f} % of these images. After {epochs} epochs it is "
        f"{accuracy:.2f} %, {missing:.2f} points less. {gain}In the last epoch it was right on "
        f"{record.accuracies[-1]:.2f} % of its augmented training images, which leaves "
        f"{100 - record.accuracies[-1]:.2f} points to learn from them. So we expect little of more "
        "epochs of the same kind, and more of more variety in the images and of averaged weights. "
        "`maamnet-tiny` lost accuracy by TrivialAugment in 20 epochs "
        "([design-notes.md](design-notes.md)), and gained by it in 80 and more. This network has "
        f"not been trained so: {LONG} epochs would take {hours:.0f} hours on one such thread. On a "
        "graphics card the next training is, untried,",
        code("sh", f"maam train --recipe experiments/recipes/{model}-{LONG}.toml --device CUDA"),
        "Even then the goal may be out of reach, for these images are a lossy copy.",
    )


def plot(records: Sequence[Record]) -> bytes:
    """Two panels: accuracy by epoch and by hour; lines in training, points on the test images."""
    figure = Figure(figsize=(12, 4.6), layout="constrained", dpi=DPI)
    models = list(dict.fromkeys(record.meta.model for record in records))
    left, right = figure.subplots(1, 2, sharey=True)
    for record in records:
        model = record.meta.model
        rounds, place = divmod(models.index(model), len(COLOURS))
        colour, line = COLOURS[place], ("-", "--", ":")[rounds]
        name = model if model not in left.get_legend_handles_labels()[1] else None
        every = range(1, len(record.hours) + 1)
        left.plot(every, record.accuracies, ls=line, color=colour, lw=1, label=name)
        right.plot(record.hours, record.accuracies, ls=line, color=colour, lw=1)
        for epochs, accuracy in record.tests:
            left.plot(epochs, accuracy, "o", color=colour)
            right.plot(record.hours[epochs - 1], accuracy, "o", color=colour)
    left.set_xlabel("Epochs")
    right.set_xlabel("Hours of training, the threads are in the table")
    left.set_ylabel("Accuracy %: lines in training, points on the test images")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    left.legend()
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI)
    return png.getvalue()


if __name__ == "__main__":
    main()
