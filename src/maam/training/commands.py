"""What repeats a run: command lines; calls in Python for a network of one's own."""

from __future__ import annotations

import shlex
from typing import Any

from maam.core.config import TrainConfig
from maam.core.run_folder import RunFolder
from maam.core.run_meta import OWN, RunMeta

_LEFT_OUT = ("data", "minutes", "out", "model")


def repetition(meta: RunMeta, recipe: str, out: str) -> str:
    """What repeats a run in a new folder, given in its own one.

    Args:
        meta: of the run.
        recipe: its options, a file.
        out: the new folder.
    """
    if not meta.own:
        return commands(f"maam train --recipe {recipe}", meta, shlex.quote(out))
    first, *later = _planned(meta)
    epochs = {"epochs": first} if later else {}
    calls = [_call(recipe=recipe, **epochs, out=out)]
    calls += [_call(resume=out, epochs=more) for more in later]
    return _with_stops(calls, meta)


def commands(first: str, meta: RunMeta, out: str = "") -> str:
    """What repeats a run: a command, and one more for each time that it was given other epochs.

    Args:
        first: the command, as if the run had been trained in one go.
        meta: that of the run.
        out: the new run folder, as a shell takes it; RUN, if it must have a name, when empty.
    """
    if not meta.stages:
        return f"{first} --out {out}" if out else first
    out = out or "RUN"
    planned = _planned(meta)
    lines = [f"{first} --epochs {planned[0]} --out {out}"]
    lines += [f"maam train --resume {out} --epochs {epochs}" for epochs in planned[1:]]
    return _with_stops(lines, meta)


def goes_on(folder: RunFolder) -> str:
    """How a training that has begun is ended, for people."""
    return f"the training goes on with `maam train --resume {shlex.quote(str(folder))}`"


def planned_command(config: TrainConfig) -> str:
    """What repeats a training without planning it again."""
    defaults = TrainConfig()
    given = {
        name: value
        for name in type(config).model_fields
        if (value := getattr(config, name)) != getattr(defaults, name) and name not in _LEFT_OUT
    }
    if config.model.endswith(OWN):
        return _call(data=config.data, **given)
    words = ["maam", "train", config.data, "--model", config.model]
    for name, value in given.items():
        flag = f"--{name.replace('_', '-')}"
        words += [flag] if value is True else [flag, str(value)]
    return shlex.join(words)


def _planned(meta: RunMeta) -> list[int]:
    """The epochs of each time that the run was given others."""
    return [*(stage["epochs"] for stage in meta.stages), meta.config["epochs"]]


def _with_stops(lines: list[str], meta: RunMeta) -> str:
    for number, stage in enumerate(meta.stages):
        if stage["until"] < stage["epochs"]:
            lines[number] += f"    # was stopped after epoch {stage['until']}"
    return "\n".join(lines)


def _call(**options: Any) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return f"maam.train(model=net, {given})"
