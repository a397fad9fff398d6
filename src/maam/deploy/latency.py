"""Latency and memory of exported models in ONNX Runtime, one image at a time on one thread."""

from __future__ import annotations

import multiprocessing
import re
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from maam.core.signals import check_signals
from maam.deploy.onnx import Network

ROUNDS, WARM_UP, TIMED = 5, 20, 200


def measure(models: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Measure models in turns, round after round, each time in a new process.

    Args:
        models: name -> an ONNX file, of a run or a bare network.

    Returns:
        By name: ``size_mib`` of the file; ``latency_ms`` of an image, the median of the rounds'
        medians, and ``latency_quartiles_ms``; ``memory_mib``, by which loading and running the
        model raises the process's peak memory, the median of the rounds.
    """
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit a framework's memory
    for _ in range(ROUNDS):
        for name, path in models.items():
            with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                samples[name].append(pool.submit(_measure_one, path).result())
            check_signals()
    return {name: _summary(models[name], each) for name, each in samples.items()}


def _summary(path: Path, samples: list[tuple[float, float]]) -> dict[str, Any]:
    latencies, memory = zip(*samples, strict=True)
    low, middle, high = np.percentile(latencies, [25, 50, 75]).round(4).tolist()
    return {
        "size_mib": round(path.stat().st_size / 2**20, 3),
        "latency_ms": middle,
        "latency_quartiles_ms": [low, high],
        "memory_mib": round(median(memory), 2),
    }


def _measure_one(path: Path) -> tuple[float, float]:
    """Milliseconds an image, and MiB by which the peak memory has risen."""
    import onnxruntime  # noqa: F401 - before memory is measured

    before = _peak_mib()
    network = Network(path, threads=1)
    image = network.random_image()
    times = []
    for _ in range(WARM_UP + TIMED):
        start = time.perf_counter()
        network(image)
        times.append(time.perf_counter() - start)
    return 1000 * median(times[WARM_UP:]), _peak_mib() - before


def _peak_mib() -> float:
    """The peak memory of this process; ``ru_maxrss`` would begin with that of its parent."""
    match = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) / 1024
