"""What a runtime is given, and what it must offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.data.preprocessing import Preprocessing

Precision = Literal["float32", "int8"]


@dataclass(frozen=True)
class Model:
    """A trained network on disk, in the forms that there are of it.

    Attributes:
        name: as the user has named it: a run folder, a shipped model, or a file.
        preprocessing: from images to the network's input; of an unknown file, pixels from 0 to 1.
        files: precision -> an ONNX file.
        run: the run folder, that of the file too; None for a file that lies in none.
        meta: of the run.
        accuracies: precision -> what was scored before, 0 to 1, where it is known.
        alone: whether a file was named, which then is all that is measured.
    """

    name: str
    preprocessing: Preprocessing
    files: dict[Precision, Path]
    run: RunFolder | None = None
    meta: RunMeta | None = None
    accuracies: Mapping[Precision, float] = field(default_factory=dict)
    alone: bool = False


@dataclass(frozen=True)
class Session:
    """A network, loaded and ready.

    Attributes:
        prepare: images uint8 (N, H, W, C) -> what ``run`` takes. It is not timed.
        run: -> logits (N, K). It is timed.
        bytes: size of the file, or of the constants, that the network was loaded from.
    """

    prepare: Callable[[np.ndarray], Any]
    run: Callable[[Any], np.ndarray]
    bytes: int


class Runtime(Protocol):
    """A way to compute networks.

    Attributes:
        title: for people.
        precision: of weights and maps.
        most_threads: how many it can use; None: as many as it is given.
    """

    title: str
    precision: Precision
    most_threads: int | None

    def unavailable(self) -> str:
        """Why it can't be had on this machine, and what to do; empty if it can."""
        ...

    def lacks(self, model: Model) -> str:
        """What a model lacks to be computed so, and what to do; empty if nothing."""
        ...

    def start(self, threads: int) -> None:
        """Import and set up what does not depend on the model, in a process that is new."""
        ...

    def load(self, model: Model, threads: int) -> Session:
        """The model, ready to run on ``threads`` threads."""
        ...
