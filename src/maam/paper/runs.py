"""Run folders -> the numbers of a reproduction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from maam.core.errors import MaamError
from maam.core.frameworks import NAMES
from maam.core.run_folder import RunFolder
from maam.paper.plan import Row

METRICS = {"accuracy": "accuracy", "f1": "f1_macro"}
METRICS |= {"precision": "precision_macro", "recall": "recall_macro"}

Run = dict[str, Any]
Report = dict[str, Any]


class Spread(NamedTuple):
    """Mean and sample standard deviation (None of one value) of ``count`` values."""

    mean: float
    deviation: float | None
    count: int


def read_run(folder: Path, row: Row, seed: int) -> Run:
    """The numbers of a finished run.

    Returns:
        What was trained where (``folder``, ``part``, ``setting``, ``model``, ``framework``,
        ``machine``, ``epochs``, ``seed``, ``images``, ``data``, and ``digest`` of the test
        images), ``parameters``, ``macs``, ``seconds``, the test scores of ``METRICS`` from 0 to 1,
        ``val_accuracy`` after the last epoch or None, and by epoch ``loss`` (training, nats) and
        ``agent_weights`` (by module).

    Raises:
        MaamError: the folder's files are damaged.
    """
    try:
        return _read_run(folder, row, seed)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise MaamError(f"{folder} is damaged, delete it: {error!r}") from None


def _read_run(folder: Path, row: Row, seed: int) -> Run:
    run = RunFolder(folder)
    meta, history = run.read_meta(), run.read_history()
    machine, framework = meta.environment, meta.framework
    # Older runs have the accelerator's name in the environment alone.
    name = machine["cpu"] if meta.device == "CPU" else meta.device_name or machine["gpu"]
    metrics = meta.metrics or {}
    return {
        "folder": folder.name,
        "part": row.part,
        "setting": row.setting,
        "model": meta.model,
        "framework": framework,
        "machine": f"{NAMES[framework]} {machine[framework]} on {meta.device} ({name})",
        "epochs": len(history),
        "seed": seed,
        "images": meta.images["train"],
        "data": meta.data_source,
        "digest": meta.data_digests["test"],
        "parameters": meta.parameters,
        "macs": meta.macs,
        "seconds": meta.seconds,
        **{name: round(metrics[key], 6) for name, key in METRICS.items()},
        "val_accuracy": history[-1]["val_accuracy"],
        "loss": [round(epoch["train_loss"], 5) for epoch in history],
        "agent_weights": [epoch["agent_weights"] for epoch in history],
    }


def select(runs: Iterable[Run], **wanted: Any) -> list[Run]:
    """The runs that have the wanted values."""
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


def tables_of(report: Report, model: str) -> list[Run]:
    """The runs of one model for Tables 1 and 2."""
    return select(report["runs"], part="tables", model=model)


def accuracy_of(report: Report, model: str) -> Spread:
    """The test accuracy of a model that was trained for the tables."""
    return spread([run["accuracy"] for run in tables_of(report, model)])
