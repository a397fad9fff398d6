"""``maam doctor``."""

from __future__ import annotations

from pathlib import Path

import maam
from maam.cli import console
from maam.core.signals import interruptible


def command(*, data_dir: Path | None = None) -> int:
    """Check this machine: versions, instruction set, devices, data, write access.

    The first time it compiles our operators, which takes a minute or more. Exit code 1 says that
    something needed is missing; its line says what to do.

    **Examples**

        maam doctor

    Parameters
    ----------
    data_dir
        Where to look for data sets too.
    """
    with interruptible():
        checks = maam.doctor(data_dir)
    return console.checks(checks)
