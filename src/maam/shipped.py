"""The weights that come with the package: each folder in ``weights`` is laid out as a run folder.

A model's name stands for its folder wherever a run folder is asked for.
"""

from __future__ import annotations

import os
from pathlib import Path

from maam.errors import MaamError

WEIGHTS = Path(__file__).with_name("weights")
DEFAULT = "maamnet-tiny"  # what `maam predict photo.jpg` asks
_META = "meta.json"  # in every run folder


def shipped() -> list[str]:
    """The models whose weights come with the package."""
    return sorted(path.parent.name for path in WEIGHTS.glob(f"*/{_META}"))


def find_run(run: str | os.PathLike[str]) -> Path:
    """The folder of a shipped model, if ``run`` is its name and no folder here; else ``run``."""
    named = os.fspath(run) in shipped() and not Path(run).is_dir()
    return WEIGHTS / run if named else Path(run)


def default_run() -> Path | None:
    """The folder of the shipped model that answers when none is named, if it is there."""
    return WEIGHTS / DEFAULT if DEFAULT in shipped() else None


def shipped_run(model: str) -> Path:
    """The folder of a shipped model.

    Raises:
        MaamError: its weights do not come with the package.
    """
    if model not in shipped():
        names = ", ".join(shipped()) or "none"
        raise MaamError(f"no weights of {model!r} come with maam, only of: {names}")
    return WEIGHTS / model
