"""One form of a model, measured or scored in a process that is new; and what several rounds say."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from maam.deploy.latency import Times, peak_mib, time_calls
from maam.deploy.mlperf_tiny import INFERENCES
from maam.deploy.runtimes import RUNTIMES, Model

BATCHES = 3  # that are timed at least


@dataclass(frozen=True)
class Form:
    """A model in a runtime, on some threads.

    Attributes:
        model: see ``Model``.
        runtime: a name in ``RUNTIMES``.
        threads: how many.
    """

    model: str
    runtime: str
    threads: int


@dataclass(frozen=True)
class Sample:
    """What one process has measured.

    Attributes:
        load_ms: from the file to the first answer; the runtime's library was there.
        single: calls with one image.
        batches: calls with ``batch_size`` images; None if there were none.
        memory_mib: by which loading and running with one image has raised the peak memory.
        process_mib: that peak, with Python and the runtime's library.
        bytes: of what was loaded.
    """

    load_ms: float
    single: Times
    batches: Times | None
    memory_mib: float
    process_mib: float
    bytes: int


@dataclass(frozen=True)
class Measurement:
    """A form of a model, measured. Of several rounds the median counts.

    Attributes:
        model: as the user has named it.
        network: what it is, such as ``maamnet-nano``; None for a file alone.
        runtime, title, precision: what computed it: the name of the option, that for people, and
            float32 or int8.
        threads: how many it could use.
        accuracy: 0 to 1; None if it is not known.
        images: how many were scored now; None: the accuracy is what the file or the run has
            recorded.
        parameters, macs: of the folded network; None if it is not known.
        bytes: of the file, or of the constants in C.
        p50_ms, p90_ms, p99_ms: latency of one image: percentiles of a round.
        p50_rounds_ms: of each round, to see how they differ.
        calls_per_second: with one image at a time.
        images_per_second: in batches of ``batch_size``; None if it was not measured.
        memory_mib, process_mib, load_ms: see ``Sample``.
        accuracy_small: on MLPerf Tiny's 200 images.
    """

    model: str
    network: str | None
    runtime: str
    title: str
    precision: str
    threads: int
    accuracy: float | None
    images: int | None
    parameters: int | None
    macs: int | None
    bytes: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p50_rounds_ms: tuple[float, ...]
    calls_per_second: float
    images_per_second: float | None
    batch_size: int
    memory_mib: float
    process_mib: float
    load_ms: float
    accuracy_small: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure_form(
    runtime: str,
    model: Model,
    threads: int,
    seconds: float,
    batch_size: int,
    images: Path | None,
    number: int,
) -> Sample:
    """Load a model in this process, which must be new, and time it.

    Args:
        runtime: a name in ``RUNTIMES``.
        model: what to load.
        threads: how many.
        seconds: of timed calls, at least; of ``INFERENCES`` and ``BATCHES``, at least.
        batch_size: for the throughput; 0: that is not measured.
        images: a file with an array uint8 (N, H, W, C); random ones if None.
        number: of the round, which picks the image.
    """
    how = RUNTIMES[runtime]
    how.start(threads)
    before = peak_mib()
    start = time.perf_counter()
    session = how.load(model, threads)
    one = session.prepare(_images(model, images, number, 1))
    session.run(one)
    load_ms = 1000 * (time.perf_counter() - start)
    single = time_calls(lambda: session.run(one), seconds, INFERENCES)
    peak = peak_mib()
    batches = None
    if batch_size:
        many = session.prepare(_images(model, images, 0, batch_size))
        batches = time_calls(lambda: session.run(many), seconds, BATCHES, warm_up=1)
    return Sample(load_ms, single, batches, peak - before, peak, session.bytes)


def score_form(
    runtime: str,
    model: Model,
    threads: int,
    batch_size: int,
    images: Path,
    labels: Path,
    number: int,
) -> np.ndarray:
    """Whether each image gets its class: bool (N,). Arguments as for ``measure_form``."""
    how = RUNTIMES[runtime]
    how.start(threads)
    session = how.load(model, threads)
    pixels, wanted = np.load(images, mmap_mode="r"), np.load(labels)
    right = []
    for start in range(0, len(pixels), batch_size):
        batch = np.array(pixels[start : start + batch_size])
        logits = session.run(session.prepare(batch))
        right.append(logits.argmax(1) == wanted[start : start + batch_size])
    return np.concatenate(right)


def summarise(form: Form, model: Model, samples: Sequence[Sample], batch_size: int) -> Measurement:
    """What the rounds of a form say together, without an accuracy that was scored now."""
    how, meta = RUNTIMES[form.runtime], model.meta
    singles = np.array([sample.single.percentiles_ms for sample in samples])
    p50, p90, p99 = np.median(singles, 0).round(4).tolist()
    batches = [sample.batches for sample in samples if sample.batches]
    deployed = meta.deployed if meta else {}
    return Measurement(
        model=form.model,
        network=meta.model if meta else None,
        runtime=form.runtime,
        title=how.title,
        precision=how.precision,
        threads=form.threads,
        accuracy=model.accuracies.get(how.precision),
        images=None,
        parameters=deployed.get("parameters", meta.parameters if meta else None),
        macs=deployed.get("macs", meta.macs if meta else None),
        bytes=samples[0].bytes,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        p50_rounds_ms=tuple(singles[:, 0].round(4).tolist()),
        calls_per_second=_median(each.single.calls / each.single.seconds for each in samples),
        images_per_second=_median(batch_size * each.calls / each.seconds for each in batches)
        if batches
        else None,
        batch_size=batch_size,
        memory_mib=_median(each.memory_mib for each in samples),
        process_mib=_median(each.process_mib for each in samples),
        load_ms=_median(each.load_ms for each in samples),
    )


def _median(values: Any) -> float:
    return round(median(values), 2)


def _images(model: Model, path: Path | None, first: int, count: int) -> np.ndarray:
    """``count`` images from number ``first`` on, again from the start at the end."""
    if path is None:
        (height, width), channels = model.preprocessing.size, model.preprocessing.channels
        rng = np.random.default_rng(first)
        return rng.integers(0, 256, (count, height, width, channels), np.uint8)
    pixels = np.load(path, mmap_mode="r")
    return np.array(pixels[np.arange(first, first + count) % len(pixels)])
