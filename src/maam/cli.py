"""The command line: one subcommand a verb; it parses and calls, and holds no logic."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from pydantic import ValidationError

import maam
from maam import console
from maam.commands import VERBS, Flags, given, write_json
from maam.config import EvaluateConfig, PredictConfig, TrainConfig, explain
from maam.display import Display
from maam.errors import MaamError
from maam.shipped import shipped_run
from maam.signals import hold_signals

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


@app.command
def train(
    source: str | None = None,
    /,
    *,
    recipe: Path | None = None,
    resume: Path | None = None,
    config: Annotated[TrainConfig | None, Flags] = None,
) -> int:
    """Train a model and write everything about it to a run folder.

    **Examples**

        maam train
        maam train --data cifar10 --model maam --epochs 30
        maam train photos/ --image-size 64 --ema 0.999
        maam train photos/ --model maamnet-tiny --pretrained
        maam train --recipe recipes/maam-cifar10.toml --seed 1
        maam train --resume runs/cifar10-maam

    Parameters
    ----------
    source
        The same as --data.
    recipe
        A TOML file of options; flags given beside it override it.
    resume
        A run folder to go on with, exactly where its last finished epoch ended.
    """
    options = given(config)
    if source is not None:
        if "data" in options:
            raise MaamError(f"both {source} and --data {options['data']}: name the images once")
        options["data"] = source
    with hold_signals(), Display() as display:
        result = maam.train(recipe=recipe, resume=resume, watch=display, **options)
    console.scores(result.scores, f"{result.run}")
    console.saved(result.run)
    return 0


@app.command
def evaluate(
    run: Path | None = None,
    /,
    *,
    model: str | None = None,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
    config: Annotated[EvaluateConfig | None, Flags] = None,
) -> int:
    """Score a run on its test split: accuracy, macro F1, precision and recall, a table by class.

    **Examples**

        maam evaluate runs/digits-maam
        maam evaluate runs/digits-maam --split val --json scores.json
        maam evaluate --model maamnet-tiny --data cifar10

    Parameters
    ----------
    run
        A run folder, as `maam train` makes it.
    model
        A model that comes with its weights, in place of a run.
    json_
        Write all scores and the confusion matrix to this file too.
    """
    if (run is None) == (model is None):
        raise MaamError("maam evaluate: name RUN, a run folder, or a --model with weights")
    scores = maam.evaluate(run or shipped_run(str(model)), **given(config))
    if json_ is not None:
        write_json(json_, scores)
    console.scores(scores, f"{run or model}, {scores['split']} split", per_class=True)
    if scores["other_copy"]:
        console.note(f"scored on {scores['data_source']}; the model card has another copy of it")
    return 0


@app.command
def predict(
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
        Image files, folders, patterns, or - for standard input: an image, or paths line by line.
    """
    for name in files:  # a lone - is standard input, and so a hyphen may lead
        if name.startswith("-") and name != "-" and not Path(name).exists():
            raise MaamError(f"unknown option {name}: see `maam predict --help`")
    return console.predictions(files, config or PredictConfig())


for verb in VERBS:
    app.command(verb)
