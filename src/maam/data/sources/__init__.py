"""Where images come from: one file a source, one registry.

A source is a module of this folder, or a function, ``load(data_dir, val_fraction, seed, progress)``
that gives a ``Dataset``. Folders and archives of images need no name: ``folder`` reads them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from maam.data.base import Dataset

if TYPE_CHECKING:  # it takes long to import, and a prediction downloads nothing
    from maam.data.files.downloads import Progress

Load = Callable[[Path | None, float, int, "Progress | None"], Dataset]

SOURCES: dict[str, str | Load] = {
    "cifar10": "maam.data.sources.cifar10",
    "fashion-mnist": "maam.data.sources.fashion_mnist",
    "digits": "maam.data.sources.digits",
}


def register_source(name: str, load: str | Load) -> None:
    """Make a data set known by name, for the option ``data``.

    Args:
        name: as the option spells it.
        load: ``load(data_dir, val_fraction, seed, progress)``, or the name of a module that has
            such a function ``load`` and is imported when it is needed. ``progress`` is to be
            called with (bytes so far, bytes in all or None) during a download.

    Raises:
        ValueError: the name is taken.
    """
    if name in SOURCES:
        raise ValueError(f"there is a data set {name!r} already")
    SOURCES[name] = load


def source(name: str) -> Load:
    """The function that loads a named data set."""
    load = SOURCES[name]
    return importlib.import_module(load).load if isinstance(load, str) else load
