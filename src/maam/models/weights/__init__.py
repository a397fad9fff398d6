"""The weights that come with the package: each folder here is laid out as a run folder.

A model's name stands for its folder wherever a run folder is asked for. Those in ``tiny-imagenet``
are only to begin a training with. They lie with the models whose weights they are, not in a room of
their own.
"""

from __future__ import annotations

import os
from pathlib import Path

from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder

WEIGHTS = Path(__file__).parent
DEFAULT = "maamnet-tiny"  # what `maam predict photo.jpg` asks
CIFAR10, TINY_IMAGENET = "cifar10", "tiny-imagenet"  # what the weights were learned from


def shipped() -> list[str]:
    """The models whose weights come with the package."""
    return sorted(path.name for path in WEIGHTS.iterdir() if RunFolder(path).is_begun())


def find_run(run: str | os.PathLike[str]) -> RunFolder:
    """The folder of a shipped model, if ``run`` is its name and no folder here; else ``run``."""
    named = os.fspath(run) in shipped() and not Path(run).is_dir()
    return RunFolder(WEIGHTS / run if named else Path(run))


def default_run() -> RunFolder | None:
    """The folder of the shipped model that answers when none is named, if it is there."""
    return RunFolder(WEIGHTS / DEFAULT) if DEFAULT in shipped() else None


def shipped_run(model: str) -> RunFolder:
    """The folder of a shipped model.

    Raises:
        MaamError: its weights do not come with the package.
    """
    if model not in shipped():
        names = ", ".join(shipped()) or "none"
        raise MaamError(f"no weights of {model!r} come with maam, only of: {names}")
    return RunFolder(WEIGHTS / model)


def sources(model: str) -> list[str]:
    """What shipped weights of a model were learned from: ``cifar10``, ``tiny-imagenet``."""
    photos = [TINY_IMAGENET] if RunFolder(WEIGHTS / TINY_IMAGENET / model).is_begun() else []
    return [*([CIFAR10] if model in shipped() else []), *photos]


def source_run(model: str, source: str) -> RunFolder:
    """The folder of a model's weights that were learned from ``source``.

    Raises:
        MaamError: they do not come with the package.
    """
    if source == CIFAR10:
        return shipped_run(model)
    if source not in sources(model):
        raise MaamError(
            f"`weights={source}`: no such weights of {model!r} come with maam, only "
            f"{', '.join(sources(model)) or 'none'}"
        )
    return RunFolder(WEIGHTS / source / model)
