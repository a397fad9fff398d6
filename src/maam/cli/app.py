"""All verbs under one command, and what becomes of errors."""

from __future__ import annotations

import os
import sys

from cyclopts import App, CycloptsError
from pydantic import ValidationError

import maam
from maam.cli import (
    benchmark,
    console,
    data,
    demo,
    doctor,
    evaluate,
    explain,
    export,
    fuse,
    models,
    pack,
    predict,
    prune,
    quantize,
    reproduce,
    train,
)
from maam.core import config
from maam.core.errors import MaamError

BAD_INPUT = 2
VERBS = (
    *(train, evaluate, predict, explain, export, quantize, prune, fuse, benchmark),
    *(models, demo, reproduce, doctor),
)

app = App(
    name="maam",
    version=maam.__version__,
    help="Small image classifiers that people really deploy, built on MindSpore.",
    help_format="markdown",
    suppress_keyboard_interrupt=False,  # main() ends the process
)
for verb in VERBS:
    app.command(verb.command, name=verb.__name__.rpartition(".")[2])
of_data = App(name="data", help_format="markdown")
of_data.default(data.command)
of_data.command(pack.command, name="pack")
app.command(of_data)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    for name in ("stdin", "stdout", "stderr"):  # one that the caller has closed is None
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: SIM115
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
        text = config.explain(cause, config.TrainConfig) if invalid else str(error)
        console.error(text)
    except MaamError as error:
        console.error(str(error))
    except BrokenPipeError:  # the reader, e.g. `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        console.error(f"{error.filename or 'output'}: {error.strerror or error}")
    return BAD_INPUT
