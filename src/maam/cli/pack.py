"""``maam data pack``."""

from __future__ import annotations

from pathlib import Path

import maam
from maam.cli.console import escape, out
from maam.cli.display import Display
from maam.cli.options import Whole
from maam.core.signals import interruptible

FAILED_FILES = 1


def command(source: str, target: Path, /, *, image_size: Whole | None = None) -> int:
    """Pack images to train on more of them than memory holds: resized, lossless, each once.

    `maam train`, `evaluate` and `predict` take the folder that it makes. It holds tar files as
    WebDataset has them, and an index. Exit code 1: some files could not be read.

    **Examples**

        maam data pack photos/ packed/ --image-size 96
        maam train packed/

    Parameters
    ----------
    source
        A folder, .tar or .zip of class folders, or a .csv.
    target
        The folder to make.
    image_size
        Side in pixels to which images are fitted. If not given: what suits them.
    """
    with interruptible(), Display() as display:
        packed = maam.pack(source, target, image_size=image_size, progress=display.inspected)
    for name, reason in packed.skipped[:5]:
        out.print(f"[yellow]unreadable[/]  {escape(name)}: {escape(reason)}")
    if (more := len(packed.skipped) - 5) > 0:
        out.print(f"[yellow]unreadable[/]  and {more:,} more: `maam data` lists them")
    for note in packed.notes:
        out.print(f"[yellow]note[/]        {escape(note)}")
    counts = ", ".join(f"{name} {count:,}" for name, count in packed.images.items())
    if packed.repeats:
        counts += f"; {packed.repeats:,} repeated ones left out"
    side = packed.image_size
    out.print(
        f"{escape(str(packed.path))}: {len(packed.classes):,} classes, {counts}; {side}x{side} "
        f"pixels; {packed.shards:,} shards, {packed.bytes / 1e6:,.1f} MB"
    )
    return FAILED_FILES if packed.skipped else 0
