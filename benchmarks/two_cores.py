"""How accurate is a network after so many minutes of training on two cores? A leaderboard.

Each recipe in recipes/two-cores/ is trained by `maam train --recipe`, from random weights, by
itself on two cores of an idle machine. Seconds are those of the whole command: images, training,
scores and export. Rows are added to results/two_cores.json, that of the same recipe replaced, and
docs/two-core-leaderboard.md is made from all of them.

    python benchmarks/two_cores.py                            # all recipes; hours
    python benchmarks/two_cores.py recipes/two-cores/10-*     # these
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from child import ChildError, run_child

from maam.core import frameworks
from maam.core.environment import environment
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.core.recipes import read_recipe
from maam.core.run_folder import RunFolder
from maam.report.markdown import markdown_table

ROOT = Path(__file__).parents[1]
RECIPES, RESULTS = ROOT / "recipes/two-cores", ROOT / "results/two_cores.json"
PAGE = ROOT / "docs/two-core-leaderboard.md"
CORES = 2
ALIKE = {"data": "cifar10", "pretrained": False, "val_fraction": 0.0}  # in every recipe
TEXT = """\
Written by `python benchmarks/two_cores.py`, from results/two_cores.json: the accuracy of networks \
that train on CIFAR-10 (JPEG copy) from random weights for so many minutes, on two CPU cores. \
Minutes are those given; seconds are those of the whole command, {command}, alone on the machine: \
reading images, training, scores and export. They are fewer because `--minutes` plans with 80 % of \
the time for training steps, in case other programs run. Parameters are those of the folded \
network. All 10,000 test images, one seed; what a recipe has was chosen on held-out training \
images ([design notes](design-notes.md), [cheaper epochs](cheap-epochs.md)). No teacher, no \
pre-training.

To add a row, add a recipe to `recipes/two-cores/` and run the benchmark with it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipes", nargs="*", type=Path, help="files in recipes/two-cores/")
    parser.add_argument("--page", action="store_true", help="train nothing, write the page anew")
    given = parser.parse_args()
    recipes = given.recipes or sorted(RECIPES.glob("*.toml"))
    for recipe in () if given.page else recipes:
        try:
            keep(measure(recipe))
        except (ChildError, MaamError) as error:
            sys.exit(f"two_cores: {recipe}: {error}")
    if not RESULTS.exists():
        sys.exit(f"two_cores: {RESULTS} is not there: run without --page")
    try:
        write_atomic(PAGE, page(json.loads(RESULTS.read_text())))
    except MaamError as error:
        sys.exit(f"two_cores: {error}")


def measure(recipe: Path) -> dict[str, Any]:
    """What a recipe reaches, and in which time.

    Raises:
        ChildError: the training failed.
        MaamError: a bad recipe, one unlike the others, or a machine with fewer cores.
    """
    options = read_recipe(recipe)
    minutes = options.get("minutes")
    if minutes is None:
        raise MaamError("it has no `minutes`: add them")
    for option, value in ALIKE.items():
        if options.get(option) != value:
            raise MaamError(f"it has no `{option} = {json.dumps(value)}`: the rows have it")
    if "teacher" in options:
        raise MaamError("it has a `teacher`: no row has one")
    if recipe.resolve().parent != RECIPES:
        raise MaamError(f"it is not in {RECIPES}: move it there")
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    if len(cores) < CORES:
        raise MaamError(f"{CORES} cores are needed, and this process may use {len(cores)}")
    os.sched_setaffinity(0, cores)
    with tempfile.TemporaryDirectory() as scratch:
        run = RunFolder(Path(scratch) / "run")
        command = ["-m", "maam", "train", "--recipe", str(recipe), "--out", str(run.path)]
        began = time.perf_counter()
        run_child(command, {"OMP_NUM_THREADS": str(CORES)}, timeout=60 * (minutes + 10))
        seconds = time.perf_counter() - began
        meta, history = run.read_meta(), run.read_history()
    assert meta.metrics is not None  # of a run that has ended
    return {
        "recipe": recipe.stem,
        "options": options,
        "minutes": minutes,
        "model": meta.model,
        "framework": meta.config["framework"],
        "epochs": len(history),
        "parameters": meta.deployed["parameters"],
        "seconds": round(seconds, 1),
        "training_seconds": round(sum(row["seconds"] for row in history), 1),
        "accuracy": round(100 * meta.metrics["accuracy"], 2),
        "environment": environment(),
    }


def keep(row: dict[str, Any]) -> None:
    """Add a row to the results, in place of that of the same recipe."""
    print(f"{row['recipe']}: {row['accuracy']:.2f} % after {row['seconds']:.0f} s", flush=True)
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    rows = [each for each in rows if each["recipe"] != row["recipe"]]
    rows = sorted([*rows, row], key=lambda each: (each["minutes"], -each["accuracy"]))
    report = {"what": "accuracy on the test images after so many minutes", "rows": rows}
    write_atomic(RESULTS, json.dumps(report, indent=1) + "\n")


def page(report: dict[str, Any]) -> str:
    """docs/two-core-leaderboard.md.

    Raises:
        MaamError: a recipe has changed since its row was measured.
    """
    for row in report["rows"]:
        if read_recipe(RECIPES / f"{row['recipe']}.toml") != row["options"]:
            raise MaamError(f"{row['recipe']} has changed since it was measured: measure it again")
    header = ("Minutes", "Accuracy %", "Model", "Parameters", "Framework", "Epochs", "Seconds")
    lines = (
        (
            f"{row['minutes']:g}",
            f"{row['accuracy']:.2f}",
            f"`{row['model']}`",
            f"{row['parameters']:,}",
            frameworks.NAMES[row["framework"]],
            str(row["epochs"]),
            f"{row['seconds']:.0f}",
            row["environment"]["cpu"],
            f"[{row['recipe']}](../recipes/two-cores/{row['recipe']}.toml)",
        )
        for row in report["rows"]
    )
    command = "`maam train --recipe recipes/two-cores/RECIPE.toml`"
    parts = [
        "# Two cores, so many minutes",
        TEXT.format(command=command),
        markdown_table((*header, "Processor", "Recipe"), lines),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
