"""``maam data``."""

from __future__ import annotations

from typing import Annotated

import maam
from maam.cli import console
from maam.cli.display import Display
from maam.cli.options import Flags, Json, given, write_json
from maam.core.config import DataConfig
from maam.core.signals import interruptible


def command(
    source: str,
    /,
    *,
    json_: Json = None,
    config: Annotated[DataConfig | None, Flags] = None,
) -> int:
    """Describe images before training: classes, counts, sizes, unreadable files, duplicates.

    **Examples**

        maam data photos/
        maam data cifar10 --json cifar10.json

    Parameters
    ----------
    source
        cifar10, fashion-mnist, digits, or a folder, .tar or .zip of class folders, or a .csv.
    json_
        Write the description to this file too.
    """
    with interruptible(), Display() as display:
        description = maam.describe(source, **given(config), progress=display.download)
    if json_ is not None:
        write_json(json_, description.to_dict())
    console.description(description)
    return 0
