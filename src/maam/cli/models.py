"""``maam models``."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter, validators

from maam.cli import console
from maam.cli.options import Whole

Size = Annotated[Whole, Parameter(validator=validators.Number(gte=1, lte=512))]


def command(pattern: str = "*", /, *, data: Literal["rgb", "grey"] = "rgb", size: Size = 32) -> int:
    """List the models with their parameters and multiply-accumulates.

    **Examples**

        maam models
        maam models "maam*" --size 64

    Parameters
    ----------
    pattern
        A shell pattern of names.
    data
        Colour or grey images. For grey ones, and for another --size, a framework counts.
    size
        The side of the images in pixels.
    """
    console.models(pattern, 3 if data == "rgb" else 1, size)
    return 0
