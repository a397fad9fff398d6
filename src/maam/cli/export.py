"""``maam export``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import maam
from maam.cli import console
from maam.core.signals import deferred


def command(
    run: Path,
    /,
    *,
    format: Literal["onnx", "c", "html"] = "onnx",
    out: Path | None = None,
    precision: Literal["auto", "int8", "float32"] = "auto",
) -> int:
    """Write a finished run in the form that a device takes.

    **Examples**

        maam export runs/photos
        maam export runs/photos --format c --out firmware/model
        maam export maamnet-nano --format html --precision int8

    Parameters
    ----------
    run
        A run folder, as `maam train` makes it, or the name of a model that comes with its weights.
    format
        onnx: one file with preprocessing and classes in it; c: a folder of C99 for
        microcontrollers; html: one page that works offline.
    out
        The file or folder to write; named after the run, here, when not given.
    precision
        Of weights and maps; auto: float32 for onnx, else int8 if the run has been quantised.
    """
    with deferred():
        written = maam.export(run, format, out, precision)
    console.exported(written)
    return 0
