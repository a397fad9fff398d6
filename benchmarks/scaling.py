"""How much faster do several processes train? Measured with 1 and 2 here, projected for more.

Trains with ``maam train --workers-per-node``, the same number of images a step for each process,
on one core each, and takes a step's median time over the epochs but for the first. More workers
are projected: a step of W workers takes what a step of one takes, and then a ring all-reduce of
the gradients (Patarasuk & Yuan 2009), none of it hidden behind the computation:

    t(W) = t(1) + 2 (W - 1) / W * bytes / bandwidth + 2 (W - 1) * latency

    python benchmarks/scaling.py --data cifar10 --model maam

Writes results/scaling.json, and the part of docs/distributed.md that follows its last heading.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from child import run_child

ROOT = Path(__file__).parents[1]
OUTPUT, PAGE = ROOT / "results" / "scaling.json", ROOT / "docs" / "distributed.md"
HEADING = "## Scaling\n"
WORKERS = (8, 64, 1024)
EPOCHS = 4
FLOAT = 4  # bytes


class Network(NamedTuple):
    """What joins two workers: bytes a second, and seconds until the first one comes."""

    bandwidth: float
    latency: float


# Stated, not measured: the rate on the label, and a usual latency of a message
NETWORKS = {
    "Ethernet, 10 Gbit/s, 50 us": Network(1.25e9, 50e-6),
    "Ethernet, 100 Gbit/s, 10 us": Network(12.5e9, 10e-6),
    "InfiniBand, 400 Gbit/s, 2 us": Network(50e9, 2e-6),
}


def project(seconds: float, gradient_bytes: int, workers: int, network: Network) -> float:
    """Seconds of a step of several workers.

    Args:
        seconds: of a step of one.
        gradient_bytes: that they exchange.
        workers: how many.
        network: what joins each with the next.
    """
    volume = 2 * (workers - 1) / workers * gradient_bytes
    return seconds + volume / network.bandwidth + 2 * (workers - 1) * network.latency


def measure(framework: str, options: argparse.Namespace, workers: int) -> dict[str, Any]:
    """A training of ``workers`` processes: milliseconds of a step, and what it exchanges."""
    with tempfile.TemporaryDirectory() as folder:
        out, batch = Path(folder) / "run", options.batch_size * workers
        arguments = {
            "--data": options.data,
            "--model": options.model,
            "--framework": framework,
            "--limit": options.images,
            "--batch-size": batch,
            "--epochs": EPOCHS,
            "--augment": "none",
            "--device": "CPU",
            "--out": out,
        }
        words = [str(word) for pair in arguments.items() for word in pair]
        more = [] if workers == 1 else ["--workers-per-node", str(workers)]
        one = {"OMP_NUM_THREADS": "1", "MAAM_THREADS": "1"}
        run_child(["-m", "maam", "train", *words, *more], one, timeout=3000)
        rows = list(csv.DictReader((out / "metrics.csv").open()))
        meta = json.loads((out / "meta.json").read_text())
    steps = -(-meta["images"]["train"] // batch)
    milliseconds = median(1000 * float(row["seconds"]) / steps for row in rows[1:])
    return {
        "framework": framework,
        "workers": workers,
        "step_ms": round(milliseconds, 2),
        "images_per_second": round(1000 * batch / milliseconds, 1),
        "gradient_bytes": FLOAT * meta["parameters"],
    }


def projections(row: dict[str, Any]) -> list[dict[str, Any]]:
    """What more workers would do, from a measured row of one."""
    seconds = row["step_ms"] / 1000
    projected = []
    for name, network in NETWORKS.items():
        for workers in WORKERS:
            step = project(seconds, row["gradient_bytes"], workers, network)
            projected.append(
                {
                    "framework": row["framework"],
                    "network": name,
                    "workers": workers,
                    "step_ms": round(1000 * step, 2),
                    "efficiency": round(seconds / step, 4),
                }
            )
    return projected


def page(report: dict[str, Any]) -> str:
    """The tables, in Markdown."""
    from maam.core.frameworks import NAMES
    from maam.report.markdown import markdown_table

    alone = {row["framework"]: row for row in report["measured"] if row["workers"] == 1}
    measured = [
        (
            NAMES[row["framework"]],
            str(row["workers"]),
            f"{row['step_ms']:.1f}",
            f"{row['images_per_second']:,.0f}",
            f"{row['images_per_second'] / alone[row['framework']]['images_per_second']:.2f}",
        )
        for row in report["measured"]
    ]
    header = ("framework", "network", *(f"{workers:,} workers" for workers in WORKERS))
    found = {
        (row["framework"], row["network"], row["workers"]): row["efficiency"]
        for row in report["projected"]
    }
    projected = [
        (NAMES[name], network, *(f"{found[name, network, count]:.1%}" for count in WORKERS))
        for name in alone
        for network in NETWORKS
    ]
    first = next(iter(alone.values()))
    return "\n".join(
        [
            f"Written by `{report['command']}`. {report['what']}, one core each.",
            "",
            markdown_table(
                ("framework", "workers", "ms a step", "images/s", "times one"), measured
            ).rstrip(),
            "",
            "Projected, not measured: the part of a step in which workers compute, where they wait",
            f"for a ring all-reduce of {first['gradient_bytes'] / 1e6:.1f} MB of gradients, none "
            "of it hidden behind the",
            "computation. t(W) = t(1) + 2 (W - 1) / W * bytes / bandwidth + 2 (W - 1) * latency.",
            "",
            markdown_table(header, projected).rstrip(),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--model", default="maam")
    parser.add_argument("--images", type=int, default=3200)
    parser.add_argument("--batch-size", type=int, default=64, help="of each process")
    parser.add_argument("--frameworks", nargs="+", default=["torch", "mindspore"])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()

    from maam.core.environment import environment
    from maam.core.files import write_atomic

    measured = []
    for framework in options.frameworks:
        for workers in (1, 2):
            measured.append(measure(framework, options, workers))
            print(measured[-1], flush=True)
    report = {
        "what": f"{options.model} on {options.data}, {options.batch_size} images a step for each "
        "process",
        "command": f"python benchmarks/scaling.py --data {options.data} --model {options.model}",
        "environment": environment(),
        "networks": {name: network._asdict() for name, network in NETWORKS.items()},
        "measured": measured,
        "projected": [each for row in measured if row["workers"] == 1 for each in projections(row)],
    }
    write_atomic(options.output, json.dumps(report, indent=1) + "\n")
    before = options.page.read_text(encoding="utf-8").partition(HEADING)[0]
    write_atomic(options.page, before + HEADING + "\n" + page(report))


if __name__ == "__main__":
    main()
