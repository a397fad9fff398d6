"""The smaller verbs of the command line; ``cli`` has the others, and what they share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, validators
from pydantic import BaseModel

import maam
from maam import console
from maam.config import DataConfig, ReproduceConfig
from maam.display import Display
from maam.errors import MaamError
from maam.files import write_atomic
from maam.fuse_run import fuse_run
from maam.signals import exit_on_termination

Flags = Parameter(name="*")
Size = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=512))]


def given(config: BaseModel | None) -> dict[str, Any]:
    """The options that were given on the command line, and only those."""
    if config is None:
        return {}
    return {name: getattr(config, name) for name in config.model_fields_set}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file for people too."""
    write_atomic(path, json.dumps(content, indent=1) + "\n")


def fuse(
    run: Path,
    /,
    *,
    out: Path | None = None,
    framework: Literal["auto", "mindspore", "torch"] = "auto",
) -> int:
    """Fold a trained network: the same answers from fewer operations, in a run folder of its own.

    Prints parameters, multiply-accumulates, graph nodes and latency before and after.

    **Examples**

        maam fuse runs/digits-maam

    Parameters
    ----------
    run
        A run folder, as `maam train` makes it, or the name of a model that comes with its weights.
    out
        The folder to make; RUN-fused when not given, for shipped weights in the working directory.
    framework
        auto: what the run was trained with.
    """
    console.folded(*fuse_run(run, out, framework))
    return 0


def models(pattern: str = "*", /, *, data: Literal["rgb", "grey"] = "rgb", size: Size = 32) -> int:
    """List the models with their parameters and multiply-accumulates.

    **Examples**

        maam models
        maam models "maam*" --size 64

    Parameters
    ----------
    pattern
        A shell pattern of names.
    data
        Colour or grey images.
    size
        The side of the images in pixels.
    """
    console.models(pattern, 3 if data == "rgb" else 1, size)
    return 0


def data(
    source: str,
    /,
    *,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
    config: Annotated[DataConfig | None, Flags] = None,
) -> int:
    """Describe images before training: classes, counts, sizes, unreadable files, duplicates.

    **Examples**

        maam data photos/
        maam data cifar10 --json cifar10.json

    Parameters
    ----------
    source
        cifar10, fashion-mnist, digits, or a folder, .tar or .zip of class folders.
    json_
        Write the description to this file too.
    """
    with Display() as display:
        found = maam.describe(source, **given(config), progress=display.download)
    if json_ is not None:
        write_json(json_, found.to_dict())
    console.description(found)
    return 0


def reproduce(
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
        Train nothing: write the recipes of what PyTorch trains to this folder, and jobs.txt for
        benchmarks/campaign.py.
    """
    if quick == full:
        raise MaamError("maam reproduce: give either --quick or --full")
    scope = "quick" if quick else "full"
    if jobs is not None:
        from maam.reproduce import write_jobs

        path = write_jobs(scope, jobs, **given(config))
        console.jobs(path, (config or ReproduceConfig()).runs)
        return 0
    with exit_on_termination():
        found = maam.reproduce(
            scope, train=not report, watch=console.reproduction_event, **given(config)
        )
    return console.reproduction(*found)


def doctor(*, data_dir: Path | None = None) -> int:
    """Check this machine: versions, instruction set, devices, data, write access.

    Exit code 1 says that something needed is missing; its line says what to do.

    **Examples**

        maam doctor

    Parameters
    ----------
    data_dir
        Where to look for data sets too.
    """
    return console.checks(maam.doctor(data_dir))


VERBS = (fuse, models, data, reproduce, doctor)
