"""What makes a small network good: short trainings of equal budget, a row each.

Trains each try on 45,000 images of CIFAR-10 and scores it on the 5,000 held out; no choice is made
by test images. All in PyTorch, bfloat16, with the options of ``BUDGET`` but for what a try changes.

    python experiments/design.py                   # train what is not trained yet, then report
    python experiments/design.py agents-3 stride   # these only
    python experiments/design.py --report          # results/design.json, docs/design-notes.md

The report adds what lies in ``--runs`` to the accuracies of results/design.json, and measures every
latency anew, so that a line can be added where the other trainings are not at hand. On another or a
busy machine, ``--untimed`` keeps the latencies, and a network that has none gets "-".
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import design_forms
import design_muon
import torch
from design_tries import NANO, REFERENCES, TRIES
from torch import nn

import maam
import maam.torch
from maam.core import environment
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.core.run_folder import RunFolder
from maam.deploy.latency import measure
from maam.models import list_models, register_model
from maam.report.markdown import markdown_table
from maam.torch.models.maamnet import MAAMNet
from maam.torch.models.separable import SeparableResNet

ROOT = Path(__file__).parents[1]
IMAGE = (3, 32, 32)
BUDGET: dict[str, Any] = {
    "data": "cifar10",
    "framework": "torch",
    "precision": "amp",
    "epochs": 5,
    "batch_size": 128,
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "weight_decay": 5e-4,
    "schedule": "triangular",
    "warmup_epochs": 1,
    "label_smoothing": 0.1,
    "augment": "crop-flip",
    "normalize": "standard",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tries", nargs="*", metavar="TRY", help="; ".join(TRIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/design"))
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--untimed", action="store_true", help="measure no latency anew")
    parser.add_argument("--data-dir", type=Path)
    given = parser.parse_args()
    maam.torch.register_optimizer("muon", design_muon.make)
    if unknown := set(given.tries) - set(TRIES):
        parser.error(f"no such try: {min(unknown)}")
    try:
        for name in () if given.report else given.tries or TRIES:
            for seed in given.seeds:
                train(name, seed, given.runs, given.data_dir)
    except MaamError as error:
        parser.error(str(error))
    written = ROOT / "results" / "design.json"
    earlier = json.loads(written.read_text()) if written.exists() else {}
    if earlier.get("budget", BUDGET) != BUDGET:
        parser.error(f"{written}: the budget was another one then: delete it, and train all anew")
    try:
        found = {row["name"]: row for row in earlier.get("tries", [])}
        rows = collect(given.runs, found, timed=not given.untimed)
    except MaamError as error:
        parser.error(str(error))
    if not rows:
        parser.error(f"--runs {given.runs}: no finished training there")
    machine = earlier.get("environment") if given.untimed else None
    machine = machine or environment.environment()
    content = {"budget": BUDGET, "environment": machine, "tries": rows}
    write_atomic(written, json.dumps(content, indent=1) + "\n")
    write_atomic(ROOT / "docs" / "design-notes.md", notes(content))
    for row in rows:
        print(f"{row['name']:20} {row['accuracy']:.2f}")


def register(name: str) -> str:
    """The name under which ``create_model`` finds what a try trains."""
    attempt = TRIES[name]
    if attempt.model:
        return attempt.model
    model = f"design-{name}"
    if model not in list_models():
        if attempt.stages:
            build, form = MAAMNet, {"stages": attempt.stages, "agents": attempt.agents}
        elif attempt.net is design_forms.Net:
            build, form = attempt.net, {"stages": NANO, **attempt.form}
        else:
            build, form = attempt.net, attempt.form
        register_model(model, attempt.text, {"torch": build}, form)
    return model


def train(name: str, seed: int, runs: Path, data_dir: Path | None) -> None:
    """Train one try, or go on with it, unless that has been done."""
    folder, model = RunFolder(runs / f"{name}-seed-{seed}"), register(name)
    if folder.card.exists():
        return
    given: dict[str, Any] = {"resume": folder.path}
    if not folder.is_begun():
        given = {**BUDGET, **TRIES[name].options, "model": model, "seed": seed, "out": folder.path}
        given |= {"optimizer": "muon"} if TRIES[name].muon else {}
    result = maam.train(**given, data_dir=data_dir)
    accuracy = result.history[-1]["val_accuracy"]
    print(f"{name} seed {seed}: {100 * accuracy:.2f} % of the held-out images", flush=True)


def collect(
    runs: Path, earlier: Mapping[str, Mapping[str, Any]], timed: bool
) -> list[dict[str, Any]]:
    """A row for each try that was trained, now or earlier: accuracy over seeds, size, latency.

    Args:
        runs: where the run folders lie, TRY-seed-SEED each.
        earlier: a row for each try; the accuracies of seeds that are in ``runs`` are replaced, and
            what is no try any more is left out.
        timed: measure every latency; else networks that compute the same as an earlier one have its
            latency, and others none.

    Raises:
        MaamError: what a name stands for has changed since its row was written.
    """
    rows, graphs, models = [], {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, attempt in TRIES.items():
            found = dict(earlier[name]["accuracies"]) if name in earlier else {}
            for run in runs.glob(f"{name}-seed-*"):
                seed = run.name.rpartition("-")[2]
                if seed.isdigit() and RunFolder(run).card.exists():  # not what `maam fuse` made
                    accuracy = RunFolder(run).read_history()[-1]["val_accuracy"]
                    found[seed] = round(100 * accuracy, 2)
            if not found:
                continue
            last = list(found.values())
            net = maam.torch.create_model(register(name))
            parameters, macs = cost(net)
            facts = {
                "options": dict(attempt.options),
                "form": repr((attempt.form, attempt.stages, attempt.agents, attempt.muon)),
                "net": attempt.net.__name__,
                "parameters": parameters,
                "macs": macs,
            }
            if not facts.items() <= (facts | dict(earlier.get(name, {}))).items():
                raise MaamError(f"results/design.json: {name} is another try now: delete its row")
            if attempt.form.get("norms") != "own":  # which would fold, but is exported as it is
                path = Path(folder) / f"{name}.onnx"
                maam.torch.export_onnx(net.eval(), IMAGE, path)
                graphs[name] = without_weights(path)
                models.setdefault(graphs[name], path)
            rows.append(
                {
                    "name": name,
                    "group": attempt.group,
                    "text": attempt.text,
                    "seeds": len(last),
                    "accuracies": {seed: found[seed] for seed in sorted(found, key=int)},
                    "accuracy": round(mean(last), 2),
                    "deviation": round(stdev(last), 2) if len(last) > 1 else None,
                    **facts,
                }
            )
        if timed:
            latencies = {graph: found["latency_ms"] for graph, found in measure(models).items()}
        else:
            latencies = {
                graph: earlier[name]["latency_ms"]
                for name, graph in graphs.items()
                if name in earlier and earlier[name]["latency_ms"] is not None
            }
    for row in rows:
        row["latency_ms"] = latencies.get(graphs.get(row["name"], ""))
    return rows


def without_weights(path: Path) -> str:
    """What a network computes but for its weights: those of equal text are timed once."""
    import onnx  # here: MindSpore can't start beside its parser

    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    return str(model.graph)


def notes(report: Mapping[str, Any]) -> str:
    """docs/design-notes.md: a table for each question, a line a try."""
    budget, facts, rows = report["budget"], report["environment"], report["tries"]
    found = {row["name"]: row for row in rows}
    base, noise = found.get("base"), ""
    if base and base["deviation"]:
        noise = f"; the base with {base['seeds']} seeds varies by {base['deviation']:.2f}"
    parts = [
        "# What was tried for MAAMNet",
        "Written by `python experiments/design.py`, from results/design.json. Every line is a "
        f"training of {budget['epochs']} epochs, unless it gives their number, on 45,000 images of "
        f"CIFAR-10, scored on the 5,000 that are held out of the training images (%{noise}); no "
        "choice was made by test images. "
        f"All other settings are the same: PyTorch {facts['torch']} in bfloat16 on {facts['cpu']}, "
        f"{budget['optimizer']} {budget['learning_rate']:g}, batch {budget['batch_size']}, weight "
        f"decay {budget['weight_decay']:g}, label smoothing {budget['label_smoothing']:g}. Latency "
        "is of one image in ONNX Runtime on one thread (-: not measured); parameters and "
        "multiply-accumulates (MACs) are counted after folding.",
        "X is the input of a block, F what its agents and its 1x1 compression make of it. An agent "
        "is a depthwise convolution, named by its size; the identity passes the input on. `32 x 2` "
        "are two blocks of 32 channels; the base has 32 x 2, 64 x 3, 128 x 3.",
    ]
    for group in dict.fromkeys(row["group"] for row in rows):
        reference = found.get(REFERENCES.get(group, "base"))
        parts += [
            f"## {group}",
            *([f"Differences are from: {reference['text']}."] if reference else []),
            markdown_table(
                ("What", "Accuracy %", "Difference", "Seeds", "Parameters", "MACs (M)", "ms"),
                (_line(row, reference) for row in rows if row["group"] == group),
            ),
        ]
    return "\n\n".join(parts) + "\n"


def _line(row: Mapping[str, Any], reference: Mapping[str, Any] | None) -> tuple[str, ...]:
    spread = f" ± {row['deviation']:.2f}" if row["deviation"] is not None else ""
    return (
        row["text"],
        f"{row['accuracy']:.2f}{spread}",
        f"{row['accuracy'] - reference['accuracy']:+.2f}"
        if reference and reference is not row
        else "-",
        str(row["seeds"]),
        f"{row['parameters']:,}",
        f"{row['macs'] / 1e6:.2f}",
        "-" if row["latency_ms"] is None else f"{row['latency_ms']:.3f}",
    )


def cost(net: nn.Module) -> tuple[int, int]:
    """Parameters and multiply-accumulates, folded."""
    if isinstance(net, (MAAMNet, SeparableResNet)):
        net = maam.torch.fuse(net)
        return maam.torch.count_parameters(net), maam.torch.count_macs(net, IMAGE)
    with torch.inference_mode():
        return design_forms.deployed_cost(net, IMAGE)


if __name__ == "__main__":
    main()
