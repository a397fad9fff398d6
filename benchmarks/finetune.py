"""What shipped weights are worth on other images: real photos, Fashion-MNIST, CIFAR-10, few images.

    python benchmarks/finetune.py --photos signs.tar.gz   # train what is not yet, and report
    python benchmarks/finetune.py --report                # only docs/fine-tuning.md and results

Every row is a training by ``maam train``, and its command is on the page. The photos are 2,062 of
hand signs for the digits, 100x100 pixels (https://github.com/ardamavi/Sign-Language-Digits-Dataset).
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ship import without_seed

import maam
from maam.core import frameworks
from maam.core.errors import MaamError
from maam.core.files import make_folder, write_atomic
from maam.core.run_folder import RunFolder
from maam.models.weights import shipped_run, sources
from maam.report.markdown import code, markdown_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "finetune.json"
MODELS = ("maamnet-nano", "maamnet-tiny")
PHOTOS = "signs"
FEW: dict[str, Any] = {"limit": 100, "epochs": 30, "batch_size": 20}

BEGAN = "-weights.txt"
CIFAR10S = "CIFAR-10's weights"
STARTS: dict[str, dict[str, Any]] = {
    "from scratch": {},
    CIFAR10S: {"pretrained": True},
    "Tiny ImageNet's weights": {"pretrained": True, "weights": "tiny-imagenet"},
    "Tiny ImageNet's weights, last layer alone": {
        "pretrained": True,
        "weights": "tiny-imagenet",
        "freeze": "patch.*,stem.*,blocks.*",
        "learning_rate": 1e-2,
    },
}
TASKS: dict[str, dict[str, Any]] = {
    "photos": {"data": PHOTOS, "image_size": 64, "epochs": 6, "batch_size": 32},
    "photos, 10 a class": {"data": PHOTOS, "image_size": 64, **FEW},
    "photos, 2 a class": {"data": PHOTOS, "image_size": 64, **FEW, "limit": 20, "batch_size": 10},
    "Fashion-MNIST, 10,000 images": {"data": "fashion-mnist", "limit": 10000, "epochs": 2},
    "Fashion-MNIST, 10 a class": {"data": "fashion-mnist", **FEW},
    "CIFAR-10, 10,000 images": {"data": "cifar10", "limit": 10000, "epochs": 4},
    "CIFAR-10, 10 a class": {"data": "cifar10", **FEW},
}
BUDGET: dict[str, Any] = {
    "val_fraction": 0,
    "augment": "crop",
    "normalize": "standard",
    "precision": "amp",
    "batch_size": 64,
    "learning_rate": 2e-3,
    "warmup_epochs": 1,
    "framework": "torch",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, help="the photos: a folder or archive")
    parser.add_argument("--runs", type=Path, default=Path("runs/finetune"))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--without", nargs="*", default=[], help="data sets to leave out")
    parser.add_argument("--report", action="store_true", help="train nothing")
    given = parser.parse_args()
    try:
        if not given.report:
            for seed in given.seeds:
                for model, task, start in trainings(given.models):
                    if TASKS[task]["data"] not in given.without:
                        train(model, task, start, seed, given.runs, given.photos)
        rows = merged(collect(given.runs))
    except MaamError as error:
        print(f"finetune: {error}", file=sys.stderr)
        sys.exit(2)
    content = {"rows": rows}
    write_atomic(RESULTS, json.dumps(content, indent=1) + "\n")
    write_atomic(ROOT / "docs" / "fine-tuning.md", page(content))


def trainings(models: list[str]) -> list[tuple[str, str, str]]:
    """(model, task, start) of each training; no images are learned twice."""
    return [
        (model, task, start)
        for model in models
        for task, options in TASKS.items()
        for start, weights in STARTS.items()
        if not weights
        or (
            weights.get("weights", "cifar10") in sources(model)
            and options["data"] != weights.get("weights", "cifar10")
            and ("freeze" not in weights or options["data"] == PHOTOS)
        )
    ]


def _name(model: str, task: str, start: str) -> str:
    """Of the run folders, before the seed."""
    words = f"{model} {task} {start}".replace(",", "").replace("'", "").lower()
    return words.replace(" ", "-")


def _began(run: RunFolder) -> Path:
    """The file beside a run folder with the recipe of the shipped weights that it began with."""
    return run.path.with_name(f"{run.path.name}{BEGAN}")


def train(model: str, task: str, start: str, seed: int, runs: Path, photos: Path | None) -> None:
    """Train one row's network once, unless that has been done."""
    folder = RunFolder(runs / f"{_name(model, task, start)}-seed-{seed}")
    began = _began(folder)
    weights = shipped_recipe(model) if start == CIFAR10S else ""
    if began.exists() and began.read_text() != weights:
        raise MaamError(
            f"{folder} began with the weights of {began.read_text()}, now there are those of "
            f"{weights}: delete it, or name another folder with --runs"
        )
    if folder.card.exists():
        return
    options = {"model": model} | BUDGET | TASKS[task] | STARTS[start]
    if options["data"] == PHOTOS:
        if photos is None:
            raise MaamError("--photos: name the folder or archive of the photos")
        options["data"] = str(photos)
    given: dict[str, Any] = {**options, "seed": seed, "out": folder.path}
    if folder.is_begun():
        given = {"resume": folder.path}
    elif weights:
        make_folder(runs)
        write_atomic(began, weights)
    result = maam.train(**given)
    print(f"{folder.path.name}: {100 * result.scores['accuracy']:.2f} %", flush=True)


def shipped_recipe(model: str) -> str:
    """The recipe that the card of a shipped model names."""
    card = shipped_run(model).card.read_text(encoding="utf-8")
    found = re.search(r"Recipe: (`recipes/[\w.-]+`)", card)
    if found is None:
        raise MaamError(f"the card of the shipped {model} names no recipe")
    return found[1]


def collect(runs: Path) -> list[dict[str, Any]]:
    """A row for each model, task and start that has a finished training.

    Raises:
        MaamError: there is none, or seeds of a row differ in more than the seed.
    """
    rows = []
    for model, task, start in trainings(list(MODELS)):
        every = sorted(runs.glob(f"{_name(model, task, start)}-seed-*"))
        seeds = [run for run in every if run.name.rpartition("-")[2].isdigit()]  # not fused
        finished = [run for run in map(RunFolder, seeds) if run.card.exists()]
        if not finished:
            continue
        metas = [run.read_meta() for run in finished]
        weights = {each.read_text() if each.exists() else "" for each in map(_began, finished)}
        if len({without_seed(meta) for meta in metas}) > 1 or len(weights) > 1:
            raise MaamError(f"{finished[0]} and its other seeds differ in more than the seed")
        accuracies = [100 * (meta.metrics or {})["accuracy"] for meta in metas]
        rows.append(
            {
                "model": model,
                "task": task,
                "start": start,
                "weights": weights.pop(),
                "accuracy": round(mean(accuracies), 2),
                "deviation": round(stdev(accuracies), 2) if len(finished) > 1 else None,
                "seeds": len(finished),
                "images": metas[0].images,
                "epochs": metas[0].config["epochs"],
                "framework": frameworks.NAMES[metas[0].framework],
                "cpu": metas[0].environment["cpu"],
                "command": command(model, task, start),
            }
        )
    if not rows:
        raise MaamError(f"--runs {runs}: no finished training there")
    return rows


def merged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """New rows in the place of earlier ones of the same model, task and start."""
    earlier = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    every = {(row["model"], row["task"], row["start"]): row for row in (*earlier, *rows)}
    return [every[each] for each in trainings(list(MODELS)) if each in every]


def command(model: str, task: str, start: str) -> str:
    """What a user types for the same, of the first seed."""
    options = {"model": model} | BUDGET | TASKS[task] | STARTS[start] | {"seed": 0}
    words = [f"maam train {options.pop('data')}"]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        words.append(flag if value is True else f"{flag} {shlex.quote(str(value))}")
    return " ".join(words)


def page(report: dict[str, Any]) -> str:
    """docs/fine-tuning.md."""
    rows = report["rows"]
    cpus = " and ".join(dict.fromkeys(row["cpu"] for row in rows))
    parts = [
        "# Shipped weights on other images",
        "Written by `python benchmarks/finetune.py --photos signs.tar.gz`, from "
        f"results/finetune.json, with {rows[0]['framework']} on {cpus}: "
        "percent of the test images that are right after the last epoch, mean ± standard deviation "
        "over seeds. The photos are of hand signs for the ten digits; a random split shares hands. "
        "No option was chosen on test images.",
    ]
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        parts += [f"## {model}", _table(mine)]
        if began := {row["weights"] for row in mine if row["weights"]}:
            parts.append(f"{CIFAR10S} here are those of {', '.join(sorted(began))}.")
    parts += ["## Commands", code("sh", "\n".join(row["command"] for row in rows))]
    return "\n\n".join(parts) + "\n"


def _table(rows: list[dict[str, Any]]) -> str:
    cells = {(row["task"], row["start"]): row for row in rows}
    starts = list(dict.fromkeys(row["start"] for row in rows))

    def cell(task: str, start: str) -> str:
        row = cells.get((task, start))
        if row is None:
            return "-"
        spread = "" if row["deviation"] is None else f" ± {row['deviation']:.2f}"
        return f"{row['accuracy']:.2f}{spread}"

    lines = (
        [task, *(cell(task, start) for start in starts), str(row["seeds"])]
        for task, row in {row["task"]: row for row in rows}.items()
    )
    return markdown_table(("Images", *starts, "Seeds"), lines)


if __name__ == "__main__":
    main()
