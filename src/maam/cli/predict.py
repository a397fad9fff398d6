"""``maam predict``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from maam.cli import console
from maam.cli.options import Flags, check_files, check_outputs
from maam.core.config import PredictConfig
from maam.core.signals import interruptible


def command(
    *files: Annotated[str, Parameter(allow_leading_hyphen=True)],
    config: Annotated[PredictConfig | None, Flags] = None,
) -> int:
    """Classify image files. Needs no training framework.

    The first name may be a run folder, or a model that comes with its weights: then it answers.
    Exit code 1 says that some files could not be read; each is named.

    **Examples**

        maam predict photo.jpg
        maam predict runs/digits-maam photo.jpg
        maam predict runs/digits-maam photos/ "more/**/*.png" --format csv
        find . -name "*.jpg" | maam predict runs/digits-maam - --format jsonl

    Parameters
    ----------
    files
        Image files, folders, packs, patterns, or - for standard input: an image, or paths line by
        line.
    """
    check_files(files, "predict")
    if config:
        check_outputs(config.output, over=(".csv",))
    with interruptible():
        return console.predictions(files, config or PredictConfig())
