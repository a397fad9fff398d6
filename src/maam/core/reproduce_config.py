"""The options of ``maam reproduce``: flags and keyword arguments, as those in ``config``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from maam.core.config import Device, Schema
from maam.core.schema import Field


class ReproduceConfig(Schema):
    """How to reproduce the paper."""

    data_dir: Path | None = None
    """Where cifar10 lies; else MAAM_DATA, else the cache, else a download."""

    framework: Literal["auto", "mindspore", "torch"] = "auto"
    """What trains, auto: as `maam train`; `cnn` and `mlp` are trained in the other one too."""

    device: Device = "auto"
    """auto: CUDA with PyTorch where there is one, else CPU. Ascend: with MindSpore."""

    epochs: int | None = Field(default=None, ge=1, le=1000)
    """Of Tables 1 and 2 and Figure 2, with --full; 15, or 30 with --device CUDA, if not given."""

    seeds: int | None = Field(default=None, ge=1, le=100)
    """Trainings of each model there; 3 of CNN, MLP and RNN, and of each MAAM 1, or 3 with
    --device CUDA, if not given."""

    runs: Path = Path("runs/reproduce")
    """Where the run folders lie. What is finished there is not trained again."""

    results: Path = Path("results")
    """Where reproduce.json goes, and where framework_speed.json and graph_nodes.json lie."""

    docs: Path = Path("docs")
    """Where reproduction.md and reproduction.html go."""
