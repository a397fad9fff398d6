"""``maam train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import maam
from maam.cli import console
from maam.cli.display import Display
from maam.cli.options import Flags, Whole, given
from maam.core.config import TrainConfig
from maam.core.errors import MaamError
from maam.core.signals import deferred, say
from maam.training.commands import goes_on
from maam.training.events import Event, Plan
from maam.training.launch import launch


def command(
    source: str | None = None,
    /,
    *,
    recipe: Path | None = None,
    resume: Path | None = None,
    workers_per_node: Whole = 1,
    config: Annotated[TrainConfig | None, Flags] = None,
) -> int:
    """Train a model and write everything about it to a run folder.

    **Examples**

        maam train photos/
        maam train photos/ --minutes 2 --image-size 64
        maam train photos/ --model maamnet-tiny --pretrained --epochs 10
        maam train --data cifar10 --model maam --epochs 30
        maam train --recipe recipes/maam-cifar10.toml --seed 1
        maam train --resume runs/cifar10-maam
        maam train --data cifar10 --model maam --workers-per-node 2

    Parameters
    ----------
    source
        The same as --data.
    recipe
        A TOML file of options; flags given beside it override it.
    resume
        A run folder to go on with, exactly where it was saved last.
    workers_per_node
        Processes on this machine that train together, each with its part of every batch.
    """
    options = given(config)
    if source is not None:
        if "data" in options:
            raise MaamError(f"both {source} and `data={options['data']}`: name the images once")
        options["data"] = source
    if workers_per_node != 1:
        launch(workers_per_node, recipe, resume, options, console.out.out)
        return 0
    with deferred(), Display() as display:

        def watch(event: Event) -> None:
            if isinstance(event, Plan):  # there is something to resume
                say(f"interrupted; {goes_on(event.folder)}")
            display(event)

        result = maam.train(recipe=recipe, resume=resume, watch=watch, **options)
    if result.scores:  # this process writes
        console.scores(result.scores, f"{result.run}")
        console.saved(result.run)
    return 0
