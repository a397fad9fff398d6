"""``maam prune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import maam
from maam.cli import comparison, console
from maam.cli.display import Display
from maam.cli.options import Flags, Json, check_outputs, given, write_json
from maam.core.prune_config import PruneConfig
from maam.core.signals import deferred


def command(
    run: Path,
    /,
    *,
    json_: Json = None,
    config: Annotated[PruneConfig | None, Flags] = None,
) -> int:
    """Remove whole channels of a trained MAAMNet, and train the smaller network further.

    Makes a run folder like any other, with prune.json. The run's images must be there; the run is
    the teacher. Prints accuracy, size, work and latency before and after. Exit code 1 if more
    accuracy is lost than allowed: then no folder is left.

    **Examples**

        maam prune runs/photos
        maam prune runs/photos --keep 0.75 --epochs 20 --out runs/photos-small
        maam prune runs/photos --max-drop 0.3 --json prune.json

    Parameters
    ----------
    run
        A run folder, as `maam train` makes it, or the name of a model that comes with its weights.
    json_
        Write the report to this file too.
    """
    from maam.training.prune_report import PrunedTooFar

    check_outputs(json_)
    try:
        with deferred(), Display() as display:
            report = maam.prune(run, watch=display, **given(config))
    except PrunedTooFar as lost:
        report, failure = lost.report, str(lost)
    else:
        failure = None
    if json_ is not None:
        write_json(json_, report.to_dict())
    comparison.pruned(report)
    if failure is not None:
        console.error(failure)
        return 1
    console.saved(Path(report.out))
    return 0
