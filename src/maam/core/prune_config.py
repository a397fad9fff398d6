"""The options of ``maam prune``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from maam.core.config import Device, Schema
from maam.core.schema import Field


class PruneConfig(Schema):
    """How to remove channels of a trained MAAMNet."""

    keep: float = Field(default=0.5, gt=0, le=1)
    """Share of the channels of each stage that stay; rounded to multiples of 8, at least 8."""

    max_drop: float = Field(default=1.0, ge=0, le=100)
    """Percentage points of accuracy that may be lost; if more are, nothing is left."""

    epochs: int = Field(default=10, ge=1, le=100_000)
    """Passes over the run's training images, with the run as the teacher."""

    learning_rate: float = Field(default=1e-3, gt=0, le=1e30)
    """The highest rate of Adam; it falls along half a cosine."""

    data: str | None = None
    """Where the run's images lie now, if not where they were."""

    data_dir: Path | None = None
    """Where cifar10 or fashion-mnist lies."""

    framework: Literal["auto", "mindspore", "torch"] = "auto"
    """What trains; auto: what the run was trained with."""

    device: Device = "auto"
    """auto: CUDA with PyTorch where there is one, else CPU. Ascend: with MindSpore."""

    out: Path | None = None
    """The new run folder; RUN-pruned when not given, for shipped weights in the working
    directory."""
