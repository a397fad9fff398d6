"""``maam explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from maam.cli import console
from maam.cli.options import Whole, check_files
from maam.core.signals import interruptible


def command(
    *files: Annotated[str, Parameter(allow_leading_hyphen=True)],
    out: Path = Path("explain"),
    top_k: Whole = 3,
    framework: Literal["auto", "mindspore", "torch"] = "auto",
) -> int:
    """Show where in images the evidence for their class lies, and what each agent adds.

    Prints the likeliest classes, and draws a picture for each image. The first name may be a run
    folder, or a model that comes with its weights: then it answers. Exit code 1 says that some
    files could not be read; each is named.

    **Examples**

        maam explain runs/digits-maam photo.jpg
        maam explain runs/digits-maam photos/ --out why

    Parameters
    ----------
    files
        Image files, folders, patterns, or - for standard input: an image, or paths line by line.
    out
        The folder for the pictures. Files that are there stay: a new one gets a number.
    top_k
        How many classes to name for each image.
    framework
        auto: what the run was trained with.
    """
    check_files(files, "explain")
    with interruptible():
        return console.explanations(files, out, top_k, framework)
