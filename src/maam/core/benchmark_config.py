"""The options of ``maam benchmark``: flags and keyword arguments, as those in ``config``."""

from __future__ import annotations

from pathlib import Path

from maam.core.config import Schema
from maam.core.schema import Field


class BenchmarkConfig(Schema):
    """How to measure models on this machine."""

    runtimes: tuple[str, ...] = ()
    """onnx, onnx-int8, openvino, openvino-int8, c, c-int8, torch, mindspore; all that there are
    here, if none is given."""

    threads: tuple[int, ...] = ()
    """Numbers of threads; 1, and 2 where there are two cores, if none is given."""

    data: str | None = None
    """Score each form on these test images: cifar10, or images in class folders, unseen by the
    runs."""

    data_dir: Path | None = None
    """Where cifar10 or fashion-mnist lies."""

    seconds: float | None = Field(default=None, gt=0, le=3600)
    """Of timed calls in each round, at least: of one image each, and then of batches; 0.5, or with
    --mlperf-tiny 10, if not given."""

    rounds: int | None = Field(default=None, ge=1, le=1000)
    """How often each measurement is taken, in turns; 3, or with --mlperf-tiny 5, if not given."""

    batch_size: int = Field(default=64, ge=1, le=4096)
    """Images at a time for the throughput."""

    mlperf_tiny: bool = False
    """Measure by MLPerf Tiny's single-stream rules for image classification, on CIFAR-10."""
