"""The search for the paper's 87.0 %: accuracy on held-out training images, by epoch and reading.

    python -m maam.training.campaign @experiments/queue.txt --out runs/queue
    python experiments/search.py runs/queue    # adds what is there, finished or not

The recipes are those of experiments/recipes whose first line begins with "The search". Writes
results/search.json, docs/search.md and docs/search.png; without a folder, the pages alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.core.run_folder import RunFolder
from maam.deploy.costs import stored_costs
from maam.paper.runs import spread
from maam.paper.words import plus_minus
from maam.report.markdown import markdown_table
from maam.report.plots import save_figure

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "experiments" / "recipes"
RESULTS = ROOT / "results" / "search.json"
HELD_OUT, PAPER = 5000, 87.0
SIGN = "# The search"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="*", help="folders of the campaign runner")
    given = parser.parse_args()
    try:
        before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        rows, best = before.get("rows", []), before.get("all_images", [])
        for folder in given.runs:
            rows = merged(rows, read(folder), lambda row: row["held_out"][-1])
            best = merged(best, read_best(folder), lambda row: row["accuracy"])
    except MaamError as error:
        print(f"search: {error}", file=sys.stderr)
        sys.exit(2)
    report: dict[str, Any] = {
        "what": f"accuracy on {HELD_OUT:,} held-out training images after each epoch"
    }
    report |= {"rows": rows, "all_images": best}
    write_atomic(RESULTS, json.dumps(report, indent=1) + "\n")
    write_atomic(ROOT / "docs" / "search.md", page(report))
    draw(rows, ROOT / "docs" / "search.png")


def read(folder: Path) -> list[dict[str, Any]]:
    """A row for each training of the search that holds images out.

    Raises:
        MaamError: there is no training of the search at all.
    """
    rows, number = [], 0
    for path, recipe, seed in _trainings(folder):
        number += 1
        meta = RunFolder(path).read_meta()
        epochs = RunFolder(path).read_history()
        if not epochs or (meta.images or {}).get("val") != HELD_OUT:
            continue
        rows.append(
            {
                "recipe": recipe,
                "seed": seed,
                "model": meta.model,
                "parameters": meta.parameters,
                "device": meta.device_name or meta.device,
                "planned": meta.config["epochs"],
                "minutes": round(sum(each["seconds"] for each in epochs) / 60, 1),
                "train": [round(100 * each["train_accuracy"], 2) for each in epochs],
                "held_out": [round(100 * each["val_accuracy"], 2) for each in epochs],
            }
        )
    if not number:
        raise MaamError(f"{folder} has no training of the search")
    return rows


def read_best(folder: Path) -> list[dict[str, Any]]:
    """A row for each finished training of the search that holds no images out."""
    rows = []
    for path, recipe, seed in _trainings(folder):
        meta = RunFolder(path).read_meta()
        if (meta.images or {}).get("val") or not RunFolder(path).scores.exists():
            continue
        scores = json.loads(RunFolder(path).scores.read_text(encoding="utf-8"))
        keys = "model", "parameters", "epochs", "accuracy", "device"
        rows.append({"recipe": recipe, "seed": seed, **{key: scores[key] for key in keys}})
    return rows


def _trainings(folder: Path) -> Iterator[tuple[Path, str, int]]:
    """(run folder, recipe, seed) of each training whose recipe is one of the search."""
    for path in sorted(folder.glob("*-seed-*")):
        recipe, _, seed = path.name.rpartition("-seed-")
        file = RECIPES / f"{recipe}.toml"
        if file.exists() and file.read_text(encoding="utf-8").startswith(SIGN):
            yield path, recipe, int(seed)


def merged(
    old: Sequence[dict[str, Any]],
    new: Sequence[dict[str, Any]],
    score: Callable[[dict[str, Any]], float],
) -> list[dict[str, Any]]:
    """New rows take the place of old ones of the same recipe and seed; the best comes first."""
    rows = {(row["recipe"], row["seed"]): row for row in (*old, *new)}
    return sorted(rows.values(), key=score, reverse=True)


def page(report: dict[str, Any]) -> str:
    """docs/search.md."""
    rows = report["rows"]
    costs = stored_costs()
    table = markdown_table(
        (
            *("Recipe", "Model", "Parameters", "MACs, folded (M)", "Epochs"),
            *("Device", "Minutes", "Training %", "Held-out %"),
        ),
        (
            (
                f"[{row['recipe']}](../experiments/recipes/{row['recipe']}.toml)",
                row["model"],
                f"{row['parameters']:,}",
                f"{costs[row['model']].macs / 1e6:.1f}",
                f"{len(row['held_out'])} of {row['planned']}",
                row["device"],
                f"{row['minutes']:.0f}",
                f"{row['train'][-1]:.2f}",
                f"{row['held_out'][-1]:.2f}",
            )
            for row in rows
        ),
    )
    return (
        "\n\n".join(
            [
                "# The search for 87.0 %",
                "Written by `python experiments/search.py RUNS`, from results/search.json: which "
                "reading of the paper's sections 3.1 to 3.3 reaches its accuracy? Each row is "
                "`python -m maam.training.campaign experiments/recipes/RECIPE.toml:0 --out RUNS`, "
                "a training on 45,000 images of CIFAR-10 (JPEG copy), "
                f"scored on {HELD_OUT:,} held-out training images: the test images choose nothing. "
                "One seed each, PyTorch in bfloat16; minutes are an upper bound, no benchmark. A "
                "training that has not ended has a learning rate that has not fallen yet. No "
                "distillation.",
                table,
                "![Held-out accuracy by epoch](search.png)",
                *outcome(report["all_images"]),
            ]
        )
        + "\n"
    )


def outcome(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What the best readings give on the test images, trained on all others."""
    if not runs:
        return
    yield "## On all 50,000 training images"
    yield (
        "`maam` with CutMix, the best on held-out images when this was trained (`maam-multires` "
        "came later), trained anew with twice the batch and rate, and scored on the 10,000 test "
        f"images after the last epoch. The paper has {PAPER:.1f} %."
    )
    recipes = dict.fromkeys(run["recipe"] for run in runs)
    groups = [[run for run in runs if run["recipe"] == recipe] for recipe in recipes]
    yield markdown_table(
        ("Recipe", "Model", "Parameters", "Epochs", "Device", "Seeds", "Test %"),
        (
            (
                f"[{first['recipe']}](../experiments/recipes/{first['recipe']}.toml)",
                first["model"],
                f"{first['parameters']:,}",
                str(first["epochs"]),
                first["device"],
                str(len(group)),
                plus_minus(spread([run["accuracy"] for run in group])),
            )
            for group in groups
            for first in group[:1]
        ),
    )


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Accuracy on held-out images by epoch, a line a training."""
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="accuracy on held-out images (%)")
    for row in rows:
        axes.plot(range(1, len(row["held_out"]) + 1), row["held_out"], label=row["recipe"])
    axes.axhline(PAPER, color="grey", ls="--", lw=1, label="the paper, test images")
    axes.set_ylim(50, 92)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    save_figure(figure, path)


if __name__ == "__main__":
    main()
