"""The command line: one subcommand a verb; it parses and calls, and holds no logic."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter, validators
from pydantic import BaseModel, ValidationError

import maam
from maam import console
from maam.config import (
    DataConfig,
    EvaluateConfig,
    PredictConfig,
    ReproduceConfig,
    TrainConfig,
    explain,
)
from maam.display import Display
from maam.errors import MaamError
from maam.files import write_atomic
from maam.signals import exit_on_termination, hold_signals

BAD_INPUT, INTERRUPTED = 2, 130
INTERRUPTION = (
    "interrupted; a training goes on with `maam train --resume RUN`, a reproduction with the same "
    "command"
)

app = App(
    name="maam",
    version=maam.__version__,
    help="Small image classifiers that people really deploy, built on MindSpore.",
    help_format="markdown",
    suppress_keyboard_interrupt=False,  # run() says how to go on
)
Flags = Parameter(name="*")
Size = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=512))]


def main() -> None:
    """Run the command line: exit code 0, 1 (some files unreadable, or a check failed), 2 (bad
    input: one line says what to do), 130 (interrupted), 143 (terminated).
    """
    for name in ("stdin", "stdout", "stderr"):  # one that the caller has closed is None
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: SIM115
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    try:
        code = app(
            arguments,
            console=console.out,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        return code if isinstance(code, int) else 0
    except CycloptsError as error:
        cause = error.__cause__
        invalid = isinstance(cause, ValidationError)
        console.error(explain(cause, TrainConfig, flags=True) if invalid else str(error))
    except MaamError as error:
        console.error(str(error))
    except KeyboardInterrupt:
        console.error(INTERRUPTION)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, e.g. `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        console.error(f"{error.filename or 'output'}: {error.strerror or error}")
    return BAD_INPUT


def _given(config: BaseModel | None) -> dict[str, Any]:
    """The options that were given on the command line, and only those."""
    if config is None:
        return {}
    return {name: getattr(config, name) for name in config.model_fields_set}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomic(path, json.dumps(content, indent=1) + "\n")


@app.command
def train(
    *,
    recipe: Path | None = None,
    resume: Path | None = None,
    config: Annotated[TrainConfig | None, Flags] = None,
) -> int:
    """Train a model and write everything about it to a run folder.

    **Examples**

        maam train
        maam train --data cifar10 --model maam --epochs 30
        maam train --data photos/ --image-size 64 --ema 0.999
        maam train --recipe recipes/maam-cifar10.toml --seed 1
        maam train --resume runs/cifar10-maam

    Parameters
    ----------
    recipe
        A TOML file of options; flags given beside it override it.
    resume
        A run folder to go on with, exactly where its last finished epoch ended.
    """
    with hold_signals(), Display() as display:
        result = maam.train(recipe=recipe, resume=resume, watch=display, **_given(config))
    console.scores(result.scores, f"{result.run}")
    console.saved(result.run)
    return 0


@app.command
def evaluate(
    run: Path,
    /,
    *,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
    config: Annotated[EvaluateConfig | None, Flags] = None,
) -> int:
    """Score a run on its test split: accuracy, macro F1, precision and recall, a table by class.

    **Examples**

        maam evaluate runs/digits-maam
        maam evaluate runs/digits-maam --split val --json scores.json

    Parameters
    ----------
    run
        A run folder, as `maam train` makes it.
    json_
        Write all scores and the confusion matrix to this file too.
    """
    scores = maam.evaluate(run, **_given(config))
    if json_ is not None:
        _write_json(json_, scores)
    console.scores(scores, f"{run}, {scores['split']} split", per_class=True)
    return 0


@app.command
def predict(
    run: Path,
    /,
    *files: Annotated[str, Parameter(allow_leading_hyphen=True)],
    config: Annotated[PredictConfig | None, Flags] = None,
) -> int:
    """Classify image files with a trained run. Needs no training framework.

    Exit code 1 says that some files could not be read; each is named.

    **Examples**

        maam predict runs/digits-maam photo.jpg
        maam predict runs/digits-maam photos/ "more/**/*.png" --format csv
        find . -name "*.jpg" | maam predict runs/digits-maam - --format jsonl

    Parameters
    ----------
    run
        A run folder, as `maam train` makes it.
    files
        Image files, folders, patterns, or - for standard input: an image, or paths line by line.
    """
    for name in files:  # a lone - is standard input, and so a hyphen may lead
        if name.startswith("-") and name != "-" and not Path(name).exists():
            raise MaamError(f"unknown option {name}: see `maam predict --help`")
    return console.predictions(run, files, config or PredictConfig())


@app.command
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


@app.command
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
        found = maam.describe(source, **_given(config), progress=display.download)
    if json_ is not None:
        _write_json(json_, found.to_dict())
    console.description(found)
    return 0


@app.command
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

        path = write_jobs(scope, jobs, **_given(config))
        console.jobs(path, (config or ReproduceConfig()).runs)
        return 0
    with exit_on_termination():
        found = maam.reproduce(
            scope, train=not report, watch=console.reproduction_event, **_given(config)
        )
    return console.reproduction(*found)


@app.command
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
