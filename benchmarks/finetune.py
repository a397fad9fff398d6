"""What shipped weights are worth on other images: Fashion-MNIST, larger pictures, few pictures.

    python benchmarks/finetune.py                 # train what is not trained yet, then report
    python benchmarks/finetune.py --report        # results/finetune.json, docs/fine-tuning.*

Every row is a training by ``maam train``, and its command is in the notes. The larger pictures are
made here: 64x64 colour JPEG files, an article of Fashion-MNIST on a part of a CIFAR-10 photograph.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from PIL import Image
from ship import without_seed

import maam
from maam.core import environment, frameworks
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.core.run_folder import RunFolder
from maam.data import load_dataset
from maam.report.markdown import code, markdown_table

ROOT = Path(__file__).parents[1]
MODEL = "maamnet-tiny"
SIDE = 64
COUNTS = {"train": 1000, "test": 1000}
FEATURES = "stem.*,blocks.*"
FEW = 100  # images, 10 a class


STARTS: dict[str, dict[str, Any]] = {
    "from scratch": {},
    "pretrained": {"pretrained": True},
    "pretrained, features frozen": {
        "pretrained": True,
        "freeze": FEATURES,
        "learning_rate": 1e-2,  # the last layer alone learns too slowly at the others' rate
    },
}
TASKS: dict[str, dict[str, Any]] = {
    "fashion-mnist": {"data": "fashion-mnist", "epochs": 2},
    "fashion-mnist-few": {"data": "fashion-mnist", "limit": FEW, "epochs": 40, "batch_size": 20},
    "pictures": {"data": "pictures", "image_size": SIDE, "epochs": 10, "batch_size": 32},
    "pictures-few": {
        "data": "pictures",
        "image_size": SIDE,
        "limit": FEW,
        "epochs": 40,
        "batch_size": 20,
    },
}
TITLES = {
    "fashion-mnist": "Fashion-MNIST: 60,000 grey images of 28x28",
    "fashion-mnist-few": "Fashion-MNIST: 10 images a class",
    "pictures": f"A folder of {COUNTS['train']:,} colour pictures of {SIDE}x{SIDE}",
    "pictures-few": f"The folder of {SIDE}x{SIDE} pictures: 10 a class",
}
BUDGET: dict[str, Any] = {
    "model": MODEL,
    "val_fraction": 0,
    "normalize": "standard",
    "precision": "amp",
    "batch_size": 64,
    "learning_rate": 2e-3,
    "warmup_epochs": 1,
}


def _name(task: str, start: str) -> str:
    """Of the run folders, before the seed."""
    return f"{task}-{start.replace(', ', '-').replace(' ', '-')}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/finetune"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--framework", choices=["auto", "mindspore", "torch"], default="auto")
    parser.add_argument("--report", action="store_true", help="train nothing")
    given = parser.parse_args()
    try:
        if not given.report:
            for seed in given.seeds:
                for task in TASKS:
                    for start in STARTS:
                        train(task, start, seed, given.runs, given.framework)
        rows = collect(given.runs)
        picture = strip(make_pictures(given.runs / "pictures"))
    except MaamError as error:
        print(f"finetune: {error}", file=sys.stderr)
        sys.exit(2)
    content = {"environment": environment.environment(), "rows": rows}
    write_atomic(ROOT / "results" / "finetune.json", json.dumps(content, indent=1) + "\n")
    write_atomic(ROOT / "docs" / "fine-tuning.md", notes(content))
    write_atomic(ROOT / "docs" / "fine-tuning.png", picture)


def train(task: str, start: str, seed: int, runs: Path, framework: str) -> None:
    """Train one row's network once, unless that has been done."""
    folder = RunFolder(runs / f"{_name(task, start)}-seed-{seed}")
    if folder.card.exists():
        return
    options = BUDGET | TASKS[task] | STARTS[start]
    if options["data"] == "pictures":
        options["data"] = str(make_pictures(runs / "pictures"))
    given: dict[str, Any] = {**options, "seed": seed, "framework": framework, "out": folder.path}
    if folder.is_begun():
        given = {"resume": folder.path}
    result = maam.train(**given)
    print(f"{folder.path.name}: {100 * result.scores['accuracy']:.2f} %", flush=True)


def make_pictures(folder: Path) -> Path:
    """Write the folder of larger pictures, unless it is there: train/ and test/, a folder a class.

    An article is enlarged to 40 to 60 pixels, turned by up to 25 degrees, given a colour, and laid
    somewhere on the 64x64 enlargement of a CIFAR-10 image: training articles on training images,
    test articles on test images.
    """
    if folder.is_dir():
        return folder
    random = np.random.default_rng(0)
    scratch = folder.with_name(f"{folder.name}.making")
    articles = load_dataset("fashion-mnist", val_fraction=0)
    photographs = load_dataset("cifar10", val_fraction=0)
    for split, count in COUNTS.items():
        clothes, scenes = getattr(articles, split), getattr(photographs, split).pixels()
        images = clothes.pixels()
        for label, name in enumerate(articles.classes):
            place = scratch / split / name.replace("/", "-")
            place.mkdir(parents=True, exist_ok=True)
            chosen = random.choice(np.flatnonzero(clothes.labels == label), count // 10, False)
            for index in chosen:
                scene = scenes[random.integers(len(scenes))]
                picture = compose(images[index, ..., 0], scene, random)
                picture.save(place / f"{index}.jpg", quality=90)
    scratch.rename(folder)
    return folder


def compose(article: np.ndarray, scene: np.ndarray, random: np.random.Generator) -> Image.Image:
    """An article (28, 28), grey on black, on a scene (32, 32, 3): a picture of SIDE x SIDE."""
    picture = Image.fromarray(scene).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    side = int(random.integers(40, 61))
    grey = Image.fromarray(article).resize((side, side), Image.Resampling.BICUBIC)
    grey = grey.rotate(random.uniform(-25, 25), Image.Resampling.BICUBIC)
    mask = grey.point([min(255, 6 * value) for value in range(256)])
    tint = random.uniform(0.4, 1.0, 3)
    colours = np.asarray(grey, np.float64)[..., None] * tint
    left, top = (int(value) for value in random.integers(0, SIDE - side + 1, 2))
    picture.paste(Image.fromarray(colours.astype(np.uint8)), (left, top), mask)
    return picture


def strip(folder: Path) -> bytes:
    """The first test picture of every class, side by side, as PNG."""
    files = [min(place.iterdir()) for place in sorted((folder / "test").iterdir())]
    whole = Image.new("RGB", (SIDE * len(files), SIDE))
    for number, file in enumerate(files):
        with Image.open(file) as picture:
            whole.paste(picture, (SIDE * number, 0))
    png = io.BytesIO()
    whole.save(png, format="png")
    return png.getvalue()


def collect(runs: Path) -> list[dict[str, Any]]:
    """A row for each task and start that has a finished training.

    Raises:
        MaamError: there is none, or seeds of a row differ in more than the seed.
    """
    rows = []
    for task in TASKS:
        for start in STARTS:
            every = sorted(runs.glob(f"{_name(task, start)}-seed-*"))
            seeds = [run for run in every if run.name.rpartition("-")[2].isdigit()]  # not fused
            finished = [run for run in map(RunFolder, seeds) if run.card.exists()]
            if not finished:
                continue
            metas = [run.read_meta() for run in finished]
            if len({without_seed(meta) for meta in metas}) > 1:
                raise MaamError(f"{finished[0]} and its other seeds differ in more than the seed")
            accuracies = [100 * (meta.metrics or {})["accuracy"] for meta in metas]
            config, images, framework = metas[0].config, metas[0].images, metas[0].framework
            rows.append(
                {
                    "task": task,
                    "start": start,
                    "accuracy": round(mean(accuracies), 2),
                    "deviation": round(stdev(accuracies), 2) if len(finished) > 1 else None,
                    "seeds": len(finished),
                    "images": images,
                    "epochs": config["epochs"],
                    "steps": config["epochs"] * -(-images["train"] // config["batch_size"]),
                    "framework": frameworks.NAMES[framework],
                    "command": command(task, start, framework),
                }
            )
    if not rows:
        raise MaamError(f"--runs {runs}: no finished training there")
    return rows


def command(task: str, start: str, framework: str) -> str:
    """What a user types for the same, of the first seed; the folder is what ``train`` makes."""
    options = BUDGET | TASKS[task] | STARTS[start] | {"framework": framework, "seed": 0}
    data = options.pop("data")
    words = [f"maam train {'runs/finetune/pictures/' if data == 'pictures' else data}"]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        quoted = f'"{value}"' if "*" in str(value) else str(value)
        words.append(flag if value is True else f"{flag} {quoted}")
    return " ".join(words)


def notes(report: dict[str, Any]) -> str:
    """docs/fine-tuning.md."""
    rows, facts = report["rows"], report["environment"]
    parts = [
        "# Shipped weights on other images",
        f"Written by `python benchmarks/finetune.py`, from results/finetune.json: `{MODEL}` "
        f"trained by {rows[0]['framework']} on {facts['cpu']}, accuracy on the test images after "
        "the last epoch, mean ± standard deviation over seeds. Its weights were learned from "
        "CIFAR-10, ten classes of animals and vehicles. The pictures are made by that script: an "
        "article of Fashion-MNIST, enlarged, turned and tinted, on a photograph of CIFAR-10 "
        "(training articles on training photographs, which the weights have seen; test articles "
        "on test photographs, which they have not).",
        "![A picture of each class](fine-tuning.png)",
    ]
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        parts += [
            f"## {TITLES[task]}",
            f"{own[0]['images']['train']:,} images to train on, {own[0]['epochs']} epochs in "
            f"{own[0]['steps']:,} steps, "
            f"{own[0]['images']['test']:,} test images.",
            markdown_table(
                ("Weights", "Accuracy %", "Seeds"),
                (
                    (
                        row["start"],
                        f"{row['accuracy']:.2f}"
                        + ("" if row["deviation"] is None else f" ± {row['deviation']:.2f}"),
                        str(row["seeds"]),
                    )
                    for row in own
                ),
            ),
            code("sh", "\n".join(row["command"] for row in own)),
        ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
