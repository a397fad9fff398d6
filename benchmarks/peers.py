"""MAAMNet beside its peers: accuracy against parameters, multiply-accumulates and latency.

    python -m maam.training.campaign recipes/resnet8.toml:0,1,2 recipes/maamnet-nano.toml:0,1,2
    python benchmarks/peers.py runs/campaign

Takes the finished runs of ``maam.training.campaign`` or ``maam train``, RECIPE-seed-SEED each, of
the recipes in recipes/, and writes results/peers.json, docs/comparison.md and docs/comparison.png.
Seeds of which there is no run keep their accuracies in results/peers.json, unless their training
had other options; every latency is measured anew.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from ship import options, starts, wanted, without_seed

import maam.torch
from maam.core import environment
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.deploy.latency import measure
from maam.report.markdown import markdown_table
from maam.report.plots import COLOURS, DPI
from maam.training.options import resolve

ROOT = Path(__file__).parents[1]
IMAGE = (3, 32, 32)


class Published(NamedTuple):
    """Figures of others, on the original CIFAR-10."""

    name: str
    parameters: float  # millions
    macs: float | None  # millions
    accuracy: float  # %
    source: str


MLPERF = "https://mlcommons.org/en/inference-tiny-05"
ZOO = "https://github.com/chenyaofo/pytorch-cifar-models"
PUBLISHED = (
    Published("ResNet-8, MLPerf Tiny's quality target", 0.078, 12.5, 85.0, MLPERF),
    Published("Tiniest", 0.098, 44, 94.4, "https://github.com/xvel/cifar10-tiniest"),
    Published("ResNet-20", 0.27, 40.8, 92.60, ZOO),
    Published("ShuffleNetV2 x0.5", 0.35, 10.9, 90.13, ZOO),
    Published("ResNet-32", 0.47, 69.1, 93.53, ZOO),
    Published("MobileNetV2 x0.5", 0.70, 28.0, 92.88, ZOO),
    Published("ResNet-56", 0.86, 125.8, 94.37, ZOO),
    Published("ShuffleNetV2 x1", 1.26, 45.0, 92.98, ZOO),
    Published("MobileNetV2 x1", 2.24, 88.0, 93.79, ZOO),
    Published("MAAM, the paper", 2.3, None, 87.0, "the paper's Table 1"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders of run folders")
    given = parser.parse_args()
    written = ROOT / "results" / "peers.json"
    earlier = json.loads(written.read_text())["rows"] if written.exists() else []
    try:
        report = collect(given.runs, earlier)
    except MaamError as error:
        print(f"peers: {error}", file=sys.stderr)
        sys.exit(2)
    write_atomic(written, json.dumps(report, indent=1) + "\n")
    write_atomic(ROOT / "docs" / "comparison.md", page(report))
    write_atomic(ROOT / "docs" / "comparison.png", plot(report["rows"]))
    for row in report["rows"]:
        print(f"{row['recipe']:28} {row['accuracy']:.2f} {row['latency_ms']:.3f} ms")


def collect(folders: Sequence[Path], earlier: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A row for each recipe that has a finished run, besides the earlier ones.

    Runs of other recipes than those in recipes/ are named and left out.

    Raises:
        MaamError: there is no run, or runs were trained or scored on different images.
    """
    groups: dict[str, list[tuple[RunMeta, float, RunFolder]]] = {}
    others = set()
    for path in sorted(path for folder in folders for path in folder.glob("*-seed-*")):
        run = RunFolder(path)
        if (accuracy := _accuracy(run)) is not None:
            recipe, _, seed = path.name.rpartition("-seed-")
            if not seed.isdigit():  # what `maam fuse` made of a run
                continue
            if not _recipe(recipe).exists():
                others.add(recipe)
                continue
            groups.setdefault(recipe, []).append((run.read_meta(), accuracy, run))
    if others:
        print(f"left out, for recipes/ has no such recipe: {', '.join(sorted(others))}")
    if not groups:
        raise MaamError(f"{folders[0]}: no finished run of a recipe in recipes/ there")
    for meta, _, run in (member for group in groups.values() for member in group):
        if meta.data != "cifar10":
            raise MaamError(f"{run} was trained on {meta.data}: compare those on cifar10")
        if meta.images["val"]:
            raise MaamError(f"{run} held images out: compare trainings with --val-fraction 0")
    metas = [meta for group in groups.values() for meta, _, _ in group]
    copies = {row["data_source"] for row in earlier} | {meta.data_source for meta in metas}
    if len(copies) > 1 or len({meta.data_digests["test"] for meta in metas}) > 1:
        raise MaamError(
            f"{folders[0]}: runs, or those of results/peers.json, were scored on different images: "
            "take one copy, and delete that file if it is of the other"
        )
    for name, group in groups.items():
        seeds = [meta.config["seed"] for meta, _, _ in group]
        for meta, _, run in group:
            if without_seed(meta) != without_seed(group[0][0]):
                raise MaamError(f"{run} was trained with other options than {group[0][2]}")
            if seeds.count(meta.config["seed"]) > 1:
                raise MaamError(f"{run}: its seed is there twice")
        meta, _, run = group[0]
        if wanted(_recipe(name), meta) != options(meta.config):
            raise MaamError(f"{run} was not trained by {_recipe(name)}")
    rows = {row["recipe"]: dict(row) for row in earlier}
    for recipe, group in groups.items():
        meta = group[0][0]
        facts = {
            "recipe": recipe,
            "model": meta.model,
            "ours": meta.model.startswith("maamnet"),
            "epochs": meta.config["epochs"],
            "stages": [stage["until"] for stage in meta.stages],
            "before": [resolve({}, _recipe(name)).epochs for name in starts(_recipe(recipe))],
            "teacher": Path(meta.config.get("teacher", "")).name,
            "mixing": _mixing(meta.config),
            "options": _digest(recipe),
            "data_source": meta.data_source,
        }
        kept = rows.get(recipe, {})
        same = facts.items() <= kept.items()
        found, machines = (kept["accuracies"], kept["trained_on"]) if same else ({}, {})
        found = found | {str(each.config["seed"]): round(100 * y, 2) for each, y, _ in group}
        machines = machines | {str(each.config["seed"]): _machine(each) for each, _, _ in group}
        seeds = sorted(found, key=int)
        accuracies = [found[seed] for seed in seeds]
        rows[recipe] = {
            **facts,
            "accuracies": {seed: found[seed] for seed in seeds},
            "accuracy": round(mean(accuracies), 2),
            "deviation": round(stdev(accuracies), 2) if len(accuracies) > 1 else None,
            "trained_on": {seed: machines[seed] for seed in seeds},
        }
    with tempfile.TemporaryDirectory() as scratch:
        models = {}
        for recipe, row in rows.items():
            whole = maam.torch.create_model(row["model"]).eval()
            net = maam.torch.fuse(whole)
            if row["model"] not in models:  # of which several recipes may train one
                models[row["model"]] = Path(scratch) / f"{row['model']}.onnx"
                maam.torch.export_onnx(net, IMAGE, models[row["model"]], whole)
            size = {
                "parameters": maam.torch.count_parameters(net),
                "macs": maam.torch.count_macs(net, IMAGE),
            }
            if not size.items() <= (size | row).items():
                raise MaamError(
                    f"results/peers.json: {row['model']} has another size now than when {recipe} "
                    "was trained: train it anew, or delete its row"
                )
            row |= size
        latencies = measure(models)
    for row in rows.values():
        row["latency_ms"] = latencies[row["model"]]["latency_ms"]
    ordered = sorted(rows.values(), key=lambda row: (row["parameters"], row["recipe"]))
    return {"environment": environment.environment(), "rows": ordered}


def _recipe(name: str) -> Path:
    return ROOT / "recipes" / f"{name}.toml"


def _digest(recipe: str) -> str:
    """Of the options that a recipe gives, whatever the seed."""
    given = options(resolve({"seed": 0}, _recipe(recipe)).model_dump(mode="json"))
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:12]


def _accuracy(run: RunFolder) -> float | None:
    """On the test images; None while the run is not finished."""
    if not run.is_begun():
        return None
    meta = run.read_meta()
    scores = meta.metrics
    if not scores and run.scores.exists():  # of a campaign, which ends no run itself
        scores = json.loads(run.scores.read_text())
        if scores["epochs"] != meta.config["epochs"]:
            return None
    return scores["accuracy"] if scores else None


def _machine(meta: RunMeta) -> str:
    """The processor or the accelerator that a run was trained on."""
    if meta.device == "CPU":
        return meta.environment["cpu"]
    return meta.device_name or meta.environment.get("gpu", meta.device)


def _mixing(config: Mapping[str, Any]) -> str:
    names = [name for name in ("mixup", "cutmix") if config.get(name)]
    return ", ".join(names)


def _epochs(row: Mapping[str, Any]) -> str:
    parts = [*row["before"], *np.diff([0, *row["stages"], row["epochs"]])]
    return " + ".join(str(part) for part in parts if part)


def _seeds(row: Mapping[str, Any]) -> str:
    """How many, and which if they are not the first ones."""
    seeds = [int(seed) for seed in row["accuracies"]]
    named = "" if seeds == list(range(len(seeds))) else f" ({', '.join(map(str, seeds))})"
    return f"{len(seeds)}{named}"


def _longest(rows: Sequence[Mapping[str, Any]]) -> int:
    """Epochs that a peer has at most."""
    return max((row["epochs"] for row in rows if not row["ours"]), default=0)


def _ruler(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which peers were trained by their published recipes."""
    names = [f"`{row['recipe']}`" for row in rows if row["recipe"].endswith("-published")]
    if not names:
        return "none was trained by its published recipe, of 200 epochs and more"
    return f"these were trained by their published recipes, on these images: {', '.join(names)}"


def page(report: Mapping[str, Any]) -> str:
    """docs/comparison.md."""
    rows, facts = report["rows"], report["environment"]
    measured = markdown_table(
        (
            *("Recipe", "Parameters", "MACs (M)", "ms", "Epochs", "Mixing", "Teacher"),
            *("Seeds", "Accuracy %", "Trained on"),
        ),
        (
            (
                f"**{row['recipe']}**" if row["ours"] else row["recipe"],
                f"{row['parameters']:,}",
                f"{row['macs'] / 1e6:.1f}",
                f"{row['latency_ms']:.2f}",
                _epochs(row),
                row["mixing"] or "-",
                row["teacher"] or "-",
                _seeds(row),
                f"{row['accuracy']:.2f}"
                + ("" if row["deviation"] is None else f" ± {row['deviation']:.2f}"),
                ", ".join(dict.fromkeys(row["trained_on"].values())),
            )
            for row in rows
        ),
    )
    published = markdown_table(
        ("Network", "Parameters (M)", "MACs (M)", "Accuracy %", "Source"),
        (
            (
                entry.name,
                f"{entry.parameters:.3g}",
                "-" if entry.macs is None else f"{entry.macs:.3g}",
                f"{entry.accuracy:.2f}",
                entry.source,
            )
            for entry in PUBLISHED
        ),
    )
    return (
        "\n\n".join(
            (
                "# MAAMNet and its peers",
                f"Written by `python benchmarks/peers.py`, from results/peers.json. Images: "
                f"{rows[0]['data_source']}. Parameters and multiply-accumulates (MACs) are counted "
                "after folding; latency is of one image in ONNX Runtime on one thread of "
                f"{facts['cpu']}. Accuracy is of the test images after the last epoch, without "
                "test-time augmentation: mean ± standard deviation over the seeds. Trainings of a "
                "row: `maam train --recipe recipes/RECIPE.toml --seed SEED`, seeds from 0; where "
                "epochs are a sum, the head of the recipe has the commands; the learning rate "
                "falls to 0 in each part. Recipes with `-long` in their names have more epochs, "
                "TrivialAugment and smaller images first: compare them with each other. Peers have "
                f"{_longest(rows)} epochs at most; {_ruler(rows)}.",
                "![Accuracy against cost, of the best recipe of each network](comparison.png)",
                "## Measured: the same images, the same harness",
                measured,
                "## Published: the original images, their own recipes",
                published,
            )
        )
        + "\n"
    )


def plot(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Three panels: accuracy of each network's best recipe against parameters, MACs and latency."""
    best = {row["model"]: row for row in sorted(rows, key=lambda row: row["accuracy"])}
    figure = Figure(figsize=(13, 4.6), layout="constrained", dpi=DPI)
    panels = (
        ("parameters", "Parameters (thousands)", 1e3),
        ("macs", "Multiply-accumulates (millions)", 1e6),
        ("latency_ms", "Milliseconds per image, one thread", 1),
    )
    for axes, (key, label, unit) in zip(figure.subplots(1, 3, sharey=True), panels, strict=True):
        names = []  # text, place, size, colour
        for row in best.values():
            colour = COLOURS[1] if row["ours"] else COLOURS[5]
            place = (row[key] / unit, row["accuracy"])
            axes.errorbar(*place, yerr=row["deviation"] or 0, fmt="o", color=colour, capsize=2)
            names.append((row["recipe"], place, 7, "black"))
        for entry in PUBLISHED if key != "latency_ms" else ():
            cost = entry.parameters * 1e3 if key == "parameters" else entry.macs
            if cost is not None:
                axes.plot(cost, entry.accuracy, "o", mfc="none", mec="0.6", ms=5)
                names.append((entry.name, (cost, entry.accuracy), 6, "0.5"))
        for name, (cost, accuracy), size, colour in names:
            high = [n for n, (x, y), _, _ in names if 0 <= y - accuracy < 0.3 and x < 4 * cost]
            axes.annotate(
                name,
                (cost, accuracy),
                (5, -9 if high != [name] else -2),
                textcoords="offset points",
                fontsize=size,
                color=colour,
            )
        lowest, highest = min(x for _, (x, _), _, _ in names), max(x for _, (x, _), _, _ in names)
        if key == "latency_ms":
            axes.set_xlim(0, 1.5 * highest)
        else:
            axes.set_xscale("log")
            axes.set_xlim(lowest / 1.4, 5 * highest)  # room for the names
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("Test accuracy %")
    figure.suptitle(
        f"CIFAR-10: ours orange; peers in our harness blue, {_longest(rows)} epochs at most; "
        "published hollow",
        fontsize=11,
    )
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI)
    return png.getvalue()


if __name__ == "__main__":
    main()
