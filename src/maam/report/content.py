"""What the report of a run tells, before it has a form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from maam.core.footprint import Footprint
from maam.core.run_meta import RunMeta


@dataclass(frozen=True)
class Example:
    """An image, what it is, what the network said, and where it looked.

    Attributes:
        name: of the image.
        true, answer: classes.
        probability: of the answer.
        picture: the image for people.
        heat: the same with the evidence for the answer; None for a network without maps.
        whole: whether ``picture`` is the original; else it is what the network saw.
    """

    name: str
    true: str
    answer: str
    probability: float
    picture: Image.Image
    heat: Image.Image | None
    whole: bool


@dataclass(frozen=True)
class AgentView:
    """What the agents add for one image.

    Attributes:
        example: the image.
        names: of the agents.
        maps: float32 (A, h, w), not negative.
    """

    example: Example
    names: Sequence[str]
    maps: np.ndarray


@dataclass(frozen=True)
class Report:
    """All that the page tells.

    Attributes:
        meta: of the run, scored.
        scores: from ``maam.core.metrics.score``.
        history: the rows of metrics.jsonl.
        counts: split -> number of images of each class.
        skipped: how many files could not be read.
        mistakes: the wrong answers that the network was surest of.
        exact: whether the maps are class-activation maps; else Grad-CAM.
        agents: None for a network without agents.
        folder: the run folder, for commands.
        model_bytes: the size of model.onnx; None if it could not be written.
        doubts: about the training, for people.
        unknown: how many of the scored images are called "unknown".
        footprint: what its export as C in int8 needs; None for a network that C can't compute.
    """

    meta: RunMeta
    scores: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    counts: Mapping[str, Sequence[int]]
    skipped: int
    mistakes: Sequence[Example]
    exact: bool
    agents: AgentView | None
    folder: Path
    model_bytes: int | None
    doubts: Sequence[str] = ()
    unknown: int = 0
    footprint: Footprint | None = None
