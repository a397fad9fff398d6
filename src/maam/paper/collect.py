"""Run folders -> the numbers of a reproduction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from maam import checkpoint
from maam.frameworks import NAMES
from maam.paper.plan import Row
from maam.report import read_history

METRICS = {"accuracy": "accuracy", "f1": "f1_macro"}
METRICS |= {"precision": "precision_macro", "recall": "recall_macro"}

Run = dict[str, Any]


class Spread(NamedTuple):
    """Mean and sample standard deviation (None of one value) of ``count`` values."""

    mean: float
    deviation: float | None
    count: int


def is_finished(folder: Path) -> bool:
    """Whether a run was trained and scored."""
    return (folder / checkpoint.META).exists() and "metrics" in checkpoint.read_meta(folder)


def read_run(folder: Path, row: Row, seed: int) -> Run:
    """The numbers of a finished run.

    Returns:
        What was trained where (``part``, ``setting``, ``model``, ``framework``, ``machine``,
        ``epochs``, ``seed``, ``images``, ``data``), ``parameters``, ``macs``, ``seconds``, the
        test scores of ``METRICS`` from 0 to 1, ``val_accuracy`` after the last epoch or None, and
        by epoch ``loss`` (training, nats) and ``agent_weights`` (by module).

    Raises:
        MaamError: the folder's files are missing or damaged.
    """
    meta, history = checkpoint.read_meta(folder), read_history(folder)
    facts, framework = meta["environment"], meta["config"]["framework"]
    processor = facts.get("gpu") if meta["device"] == "CUDA" else facts["cpu"]
    machine = f"{NAMES[framework]} {facts[framework]} on {meta['device']} ({processor})"
    return {
        "part": row.part,
        "setting": row.setting,
        "model": meta["model"],
        "framework": framework,
        "machine": machine,
        "epochs": len(history),
        "seed": seed,
        "images": meta["images"]["train"],
        "data": meta["data_source"],
        "parameters": meta["parameters"],
        "macs": meta["macs"],
        "seconds": meta["seconds"],
        **{name: round(meta["metrics"][key], 6) for name, key in METRICS.items()},
        "val_accuracy": history[-1]["val_accuracy"],
        "loss": [round(epoch["train_loss"], 5) for epoch in history],
        "agent_weights": [epoch["agent_weights"] for epoch in history],
    }


def select(runs: Iterable[Run], **wanted: Any) -> list[Run]:
    """The runs whose facts are the wanted ones."""
    return [run for run in runs if all(run[key] == value for key, value in wanted.items())]


def spread(values: Sequence[float]) -> Spread:
    """Mean and deviation of at least one value."""
    return Spread(mean(values), stdev(values) if len(values) > 1 else None, len(values))


def seed_noise(groups: Iterable[Sequence[float]]) -> float | None:
    """The standard deviation between seeds, pooled over groups of runs that differ in seed only."""
    groups = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return None
    return sqrt(sum(stdev(group) ** 2 * (len(group) - 1) for group in groups) / freedom)
