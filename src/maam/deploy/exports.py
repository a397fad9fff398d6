"""A finished run -> the form that a device takes. Each format is written by a module of its own.

No module has the name of a public function, and ``maam.export`` is one: hence this one's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.models.weights import find_run

Format = Literal["onnx", "c", "html"]
Precision = Literal["int8", "float32"]


@dataclass(frozen=True)
class Exported:
    """What an export has written.

    Attributes:
        path: the file or folder.
        figures: what is to be told of it, such as its size: name -> value, both for people.
    """

    path: Path
    figures: dict[str, str] = field(default_factory=dict)


Exporter = Callable[[RunFolder, Path, Precision], dict[str, str]]
"""Writes a run, as ``out``, with weights and maps of a precision; returns ``Exported.figures``."""


def export(
    run: str | os.PathLike[str],
    format: Format = "onnx",
    out: str | os.PathLike[str] | None = None,
    precision: Literal["auto", "int8", "float32"] = "auto",
) -> Exported:
    """Write a finished run in the form that a device takes.

    Args:
        run: a run folder, or the name of a shipped model.
        format: ``onnx``: one file with preprocessing, classes and a checksum; ``c``: a folder of
            C99 for microcontrollers; ``html``: one page that works offline.
        out: the file or folder to write; named after the run, here, when None.
        precision: of weights and maps; ``auto`` is ``float32`` for ``onnx``, and for the others
            ``int8`` if the run has been quantised.

    Example:
        >>> maam.export("runs/photos", "onnx", "photos.onnx").path

    Raises:
        MaamError: bad options, a run that is not finished or damaged, ``out`` exists, or what was
            written does not compute what the run does; nothing is left then.
    """
    folder = find_run(run)
    if not folder.path.is_dir():
        raise MaamError(f"{folder} is no run folder: name one, as `maam train` makes it")
    meta = folder.read_meta()
    if not meta.metrics and not folder.model.exists():
        raise MaamError(f"{folder} is not finished: `maam train --resume {folder}` ends it")
    if format not in _FORMATS:
        raise MaamError(f"`format` must be one of {', '.join(_FORMATS)}, not {format!r}")
    if precision not in ("auto", "int8", "float32"):
        raise MaamError(f"`precision` must be auto, int8 or float32, not {precision!r}")
    suffix, exporter = _FORMATS[format]
    target = Path(out) if out is not None else Path(f"{folder.path.resolve().name}{suffix}")
    if target.name in ("", ".."):
        raise MaamError(f"`out={target}` names no file: give a name that is free")
    if os.path.lexists(target):
        raise MaamError(f"{target} exists already: delete it, or name another with `out`")
    chosen = _chosen(folder, format) if precision == "auto" else precision
    return Exported(target, exporter(folder, target, chosen))


def _chosen(run: RunFolder, format: Format) -> Precision:
    return "int8" if run.int8.exists() and format != "onnx" else "float32"


def _onnx(run: RunFolder, out: Path, precision: Precision) -> dict[str, str]:
    from maam.deploy.onnx_export import export_onnx_file

    return export_onnx_file(run, out, precision)


def _c(run: RunFolder, out: Path, precision: Precision) -> dict[str, str]:
    from maam.deploy.c.folder import write_c

    return write_c(run, out, precision)


def _html(run: RunFolder, out: Path, precision: Precision) -> dict[str, str]:
    from maam.deploy.web.page import write_page

    return write_page(run, out, precision)


# Name -> what is added to the run's name for the file or folder, and what writes it. A function
# here imports what it needs when it is called.
_FORMATS: dict[str, tuple[str, Exporter]] = {
    "onnx": (".onnx", _onnx),
    "c": ("-c", _c),
    "html": (".html", _html),
}
