"""``maam reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import maam
from maam.cli import console
from maam.cli.options import Flags, given
from maam.core.errors import MaamError
from maam.core.reproduce_config import ReproduceConfig
from maam.core.signals import interruptible


def command(
    *,
    quick: Annotated[bool, Parameter(negative="")] = False,
    full: Annotated[bool, Parameter(negative="")] = False,
    report: Annotated[bool, Parameter(negative="")] = False,
    jobs: Path | None = None,
    config: Annotated[ReproduceConfig | None, Flags] = None,
) -> int:
    """Regenerate the paper's tables and figure, with the paper's numbers beside ours.

    Goes on where it stopped: finished trainings are kept, begun ones resumed. Exit code 1 says
    that some trainings failed; each is named.

    **Examples**

        maam reproduce --quick
        maam reproduce --full
        maam reproduce --full --framework torch --epochs 30 --seeds 3 --jobs jobs

    Parameters
    ----------
    quick
        A few minutes: Tables 1 and 2 on 2,000 images, to see that all works.
    full
        The whole protocol: hours on a CPU.
    report
        Train nothing: report on the trainings that are finished.
    jobs
        Train nothing: write the recipes of what PyTorch trains to this folder, and jobs.txt, a
        queue for `python -m maam.training.campaign`.
    """
    if quick == full:
        raise MaamError("maam reproduce: give either --quick or --full")
    scope = "quick" if quick else "full"
    if jobs is not None:
        from maam.paper.reproduction import write_queue

        path = write_queue(scope, jobs, **given(config))
        console.queue(path, (config or ReproduceConfig()).runs)
        return 0
    with interruptible():
        result = maam.reproduce(
            scope, train=not report, watch=console.reproduction_event, **given(config)
        )
    return console.reproduction(result.report, result.page)
