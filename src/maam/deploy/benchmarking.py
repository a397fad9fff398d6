"""``maam.benchmark``: models in every runtime of this machine, in turns."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np

from maam.core.benchmark_config import BenchmarkConfig
from maam.core.config import make_config
from maam.core.environment import environment, usable_cores
from maam.core.errors import MaamError, first_line
from maam.core.frameworks import installed
from maam.deploy import mlperf_tiny
from maam.deploy.latency import in_turns
from maam.deploy.measurement import Form, Measurement, Sample, measure_form, score_form, summarise
from maam.deploy.runtimes import RUNTIMES, Model, available
from maam.deploy.runtimes.models import find_model
from maam.deploy.scored_images import ScoredImages, lay_out
from maam.models.weights import shipped

ROUNDS, SECONDS, THREADS = 3, 0.5, (1, 2)

Value = TypeVar("Value")

Progress = Callable[[int, int, str], None]
"""Told what has been measured: how many, of how many, and what."""


@dataclass(frozen=True)
class Skipped:
    """What was not measured, and why.

    Attributes:
        model: as the user has named it; empty for all models.
        runtime: a name in ``RUNTIMES``.
        reason: for people.
    """

    model: str
    runtime: str
    reason: str


@dataclass(frozen=True)
class BenchmarkReport:
    """What was measured.

    Attributes:
        rows: a measurement of each model, runtime and number of threads.
        skipped: what could not be measured.
        rounds, seconds: how often, and how long in each round.
        data_source: where scored images came from, for people; empty if none were scored.
        environment: versions and machine.
        rules: with ``mlperf_tiny``, which of its rules were ``followed`` and ``not_followed``.
    """

    rows: tuple[Measurement, ...]
    skipped: tuple[Skipped, ...]
    rounds: int
    seconds: float
    data_source: str = ""
    environment: dict[str, str] = field(default_factory=lambda: machine())
    rules: dict[str, Sequence[str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **{key: value for key, value in vars(self).items() if value != {}},
            "rows": [row.to_dict() for row in self.rows],
            "skipped": [vars(each) for each in self.skipped],
        }


def benchmark(
    *models: str | os.PathLike[str], progress: Progress | None = None, **options: Any
) -> BenchmarkReport:
    """Measure models on this machine: latency, throughput, memory, load time, accuracy.

    Each measurement is taken in a process of its own. Models and runtimes take turns, round after
    round.

    Args:
        models: run folders, shipped models, or ONNX files as they lie in run folders; all shipped
            models if none is named.
        progress: told after each measurement.
        options: fields of ``BenchmarkConfig``: ``runtimes``, ``threads``, ``data``, ``data_dir``,
            ``seconds``, ``rounds``, ``batch_size``, ``mlperf_tiny``.

    Example:
        >>> report = maam.benchmark("runs/photos", runtimes=("onnx", "c"), threads=(1,))
        >>> min(report.rows, key=lambda row: row.p50_ms).runtime

    Raises:
        MaamError: bad options; what is no model, is damaged or not finished; a runtime that is not
            installed; data as for ``maam.evaluate``; or nothing can be measured.
    """
    config = make_config(BenchmarkConfig, options)
    strict = config.mlperf_tiny
    rounds = config.rounds or (mlperf_tiny.RUNS if strict else ROUNDS)
    seconds = config.seconds or (mlperf_tiny.SECONDS if strict else SECONDS)
    batch_size = 0 if strict else config.batch_size
    threads = _threads(config.threads)
    names, missing = available(config.runtimes)
    found = {model.name: model for model in map(find_model, models or shipped())}
    forms, skipped = _forms(list(found.values()), names, threads, bool(config.runtimes))
    if not forms:
        first = skipped[0]
        raise MaamError(f"nothing to measure: {first.model} with {first.runtime}: {first.reason}")
    skipped += [Skipped("", name, reason) for name, reason in missing.items()]
    with TemporaryDirectory() as scratch:
        scored = config.data is not None or strict
        images = lay_out(list(found.values()), config, Path(scratch)) if scored else {}
        works: dict[Form, Callable[[int], Sample]] = {}
        for form in forms:
            timed = images[form.model].timed if scored else None
            how = form.runtime, found[form.model], form.threads
            works[form] = partial(measure_form, *how, seconds, batch_size, timed)
        samples = _run(works, rounds, skipped, progress, "times")
        rows = [
            summarise(form, found[form.model], each, batch_size) for form, each in samples.items()
        ]
        if scored:
            rows = _score(rows, found, images, config, skipped, progress)
    if not rows:
        raise MaamError(f"nothing could be measured: {skipped[-1].reason}")
    source = ", ".join(dict.fromkeys(each.source for each in images.values()))
    rules = mlperf_tiny.kept_rules(seconds, rounds, source) if strict else {}
    return BenchmarkReport(tuple(rows), tuple(skipped), rounds, seconds, source, rules=rules)


def machine() -> dict[str, str]:
    """Versions and machine; OpenVINO's too, where it is installed."""
    versions = environment()
    if installed("openvino"):
        versions["openvino"] = metadata.version("openvino")
    return versions


def _threads(wanted: Sequence[int]) -> tuple[int, ...]:
    """The numbers of threads, in order, each once.

    Raises:
        MaamError: one is below 1, or more than there are cores.
    """
    cores = usable_cores()
    for number in wanted:
        if not 1 <= number <= cores:
            raise MaamError(f"`threads={number}`: this process may use 1 to {cores}")
    return tuple(sorted(set(wanted))) or tuple(n for n in THREADS if n <= cores)


def _forms(
    models: Sequence[Model], names: Sequence[str], threads: Sequence[int], named: bool
) -> tuple[list[Form], list[Skipped]]:
    """What is measured, models in turns; and what can't be, and why.

    Of a file alone there is nothing to tell, unless runtimes were ``named``.
    """
    forms: list[Form] = []
    skipped = []
    for model in models:
        for name in names:
            most = RUNTIMES[name].most_threads
            numbers = [number for number in threads if most is None or number <= most]
            reason = RUNTIMES[name].lacks(model)
            if not reason and not numbers:
                reason = f"it computes on {most} thread"
            if reason and model.alone and not named:
                continue
            if reason:
                skipped.append(Skipped(model.name, name, reason))
            else:
                forms += [Form(model.name, name, number) for number in numbers]
    return forms, skipped


def _score(
    rows: Sequence[Measurement],
    models: Mapping[str, Model],
    images: Mapping[str, ScoredImages],
    config: BenchmarkConfig,
    skipped: list[Skipped],
    progress: Progress | None,
) -> list[Measurement]:
    """The rows with the accuracy of what they measured; threads do not change it."""
    most = {(row.model, row.runtime): row.threads for row in rows}
    works: dict[Form, Callable[[int], np.ndarray]] = {}
    for (name, runtime), threads in most.items():
        how = runtime, models[name], threads, config.batch_size
        files = images[name].pixels, images[name].labels
        works[Form(name, runtime, threads)] = partial(score_form, *how, *files)
    scores = _run(works, 1, skipped, progress, "scores")
    right = {(form.model, form.runtime): each[0] for form, each in scores.items()}
    finished = []
    for row in rows:
        if (answers := right.get((row.model, row.runtime))) is None:
            continue
        small = None
        if config.mlperf_tiny:
            chosen = mlperf_tiny.accuracy_set(np.load(images[row.model].labels))
            small = float(answers[chosen].mean())
        accuracy = float(answers.mean())
        scored = {"accuracy": accuracy, "images": len(answers), "accuracy_small": small}
        finished.append(replace(row, **scored))
    return finished


def _run(
    works: dict[Form, Callable[[int], Value]],
    rounds: int,
    skipped: list[Skipped],
    progress: Progress | None,
    what: str,
) -> dict[Form, list[Value]]:
    """The results of each form, round by round; what fails goes to ``skipped``."""
    results: dict[Form, list[Value]] = {form: [] for form in works}
    total = rounds * len(works)
    for number, (form, outcome) in enumerate(in_turns(works, rounds), 1):
        try:
            results[form].append(outcome.result())
        except MaamError:
            raise
        except Exception as error:  # of a runtime; the others go on
            del works[form], results[form]
            skipped.append(Skipped(form.model, form.runtime, first_line(error)))
        if progress is not None:
            progress(number, total, f"{what} of {form.model}: {form.runtime}")
    return results
