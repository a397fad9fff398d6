"""The paper's tables and figure, regenerated, with the paper's numbers beside ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

from maam.core import frameworks
from maam.core.config import TrainConfig, make_config
from maam.core.environment import environment
from maam.core.errors import MaamError
from maam.core.files import make_folder, write_atomic
from maam.core.reproduce_config import ReproduceConfig
from maam.core.run_folder import RunFolder
from maam.data import load_dataset
from maam.deploy import latency
from maam.paper import measured, page
from maam.paper.cost_claims import cost_claims
from maam.paper.plan import Row, plan, write_recipe
from maam.paper.runs import Report, Run, read_run, select
from maam.paper.training_claims import training_claims
from maam.training.finalize import check_packages
from maam.training.options import absolute
from maam.training.setup import check_begun

# Told of what happens: a kind (training, line, skip, note) and a text.
Watch = Callable[[str, str], None]


class _TrainingFailed(MaamError):
    """A training ended with an error."""


class Reproduction(NamedTuple):
    """What ``reproduce`` returns: the report and where its page is."""

    report: Report
    page: Path


def reproduce(
    scope: Literal["quick", "full"],
    *,
    train: bool = True,
    watch: Watch = lambda kind, text: None,
    **options: Any,
) -> Reproduction:
    """Train what is not trained yet, measure, and write tables, figure and verdicts.

    Every training is a run folder of its own in ``runs``, as ``maam train`` and the campaign
    runner make them: finished ones are taken as they are, begun ones are resumed, and those that
    another process is training are left to it. Writes ``reproduce.json`` into ``results``, and
    ``reproduction.md`` and ``.html`` with their plots into ``docs``; the names of a quick
    reproduction end in ``-quick``.

    Args:
        scope: ``quick``, a few minutes on a part of the data, or ``full``.
        train: false reports on what is finished, and trains nothing.
        watch: told of trainings, of their lines of output, and of what was left out.
        options: fields of ``ReproduceConfig``.

    Returns:
        The report, as in ``reproduce.json``, and the path of the Markdown page.

    Raises:
        MaamError: bad options or data, the first training failed or no training is finished, or a
            file can't be read or written.
    """
    config = make_config(ReproduceConfig, absolute(options))
    config = config.model_copy(update={"framework": frameworks.choose(config.framework)})
    rows = plan(scope, config)
    if train:
        _check_needs(rows, config)
    problems: dict[str, str] = {}
    runs: list[Run] = []
    for row in rows:
        for seed in row.seeds:
            folder = row.folder(config.runs, seed)
            try:
                if train:
                    _train(row, seed, config, watch)
                elif not RunFolder(folder).is_finished():
                    raise MaamError("not trained yet")
                runs.append(_comparable(read_run(folder, row, seed), runs))
            except MaamError as error:
                if isinstance(error, _TrainingFailed) and not runs:
                    raise  # what stops the first training, such as a bad device, stops them all
                problems[folder.name] = str(error)
                watch("skip", f"{folder.name}: {error}")
    if not runs:
        raise MaamError(f"no training is finished; the first: {next(iter(problems.values()))}")
    report = _report(scope, config, runs, problems, watch)
    return Reproduction(report, _write(report, config))


def write_queue(scope: Literal["quick", "full"], folder: Path, **options: Any) -> Path:
    """Write the recipes of what PyTorch trains, and a queue for ``maam.training.campaign``.

    Raises:
        MaamError: bad options, nothing that PyTorch trains, or a file that can't be written.
    """
    rows = plan(scope, make_config(ReproduceConfig, options))
    rows = [row for row in rows if row.options["framework"] == "torch"]  # all that it trains in
    if not rows:
        raise MaamError("`jobs`: PyTorch trains none of this: add `framework=torch`")
    lines = [f"{write_recipe(row, folder)}:{','.join(map(str, row.seeds))}" for row in rows]
    path = folder / "jobs.txt"
    write_atomic(path, "\n".join(lines) + "\n")
    return path


def _check_needs(rows: list[Row], config: ReproduceConfig) -> None:
    """Say once what would stop every training: a missing framework, or missing data.

    Raises:
        MaamError: it is missing.
    """
    frameworks.require_framework(config.framework)
    check_packages(config.framework)
    folders = [row.folder(config.runs, seed) for row in rows for seed in row.seeds]
    if not all(RunFolder(folder).is_finished() for folder in folders):
        for data in {row.options["data"] for row in rows}:
            load_dataset(data, config.data_dir)


def _train(row: Row, seed: int, config: ReproduceConfig, watch: Watch) -> None:
    """Train one row with one seed in a process of its own, unless it is finished.

    Raises:
        MaamError: it failed, can't be trained here, was begun with other options, or another
            process is at it.
    """
    folder = row.folder(config.runs, seed)
    recipe = write_recipe(row, config.runs / "recipes")
    begun = check_begun(RunFolder(folder), make_config(TrainConfig, {**row.options, "seed": seed}))
    if RunFolder(folder).is_finished():
        return
    framework = row.options["framework"]
    frameworks.require_framework(framework)
    with RunFolder(folder).lock():  # another process that has it is left to it
        pass
    if begun:
        what = ["--resume", str(folder)]
    else:
        what = ["--recipe", str(recipe), "--seed", str(seed), "--out", str(folder)]
    where = ["--device", config.device if framework == config.framework else "auto"]
    where += ["--data-dir", str(config.data_dir)] if config.data_dir else []
    watch("training", folder.name)
    _run([sys.executable, "-m", "maam", "train", *what, *where], watch)


def _run(command: list[str], watch: Watch) -> None:
    """Run a training, which holds its folder's lock, line by line.

    Raises:
        MaamError: it failed; its last line says how.
    """
    line = ""
    child = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert child.stdout is not None
    try:
        for text in child.stdout:
            line = text.strip() or line
            watch("line", text.rstrip())
    except BaseException:
        child.terminate()  # it stops at the end of a step, and goes on when it is resumed
        raise
    finally:
        child.wait()
        child.stdout.close()
    if child.returncode:
        raise _TrainingFailed(f"exit code {child.returncode}: {line}")


def _comparable(run: Run, others: list[Run]) -> Run:
    """The run, if it was tested on the same images as the others.

    Raises:
        MaamError: it was not.
    """
    if others and run["digest"] != others[0]["digest"]:
        raise MaamError(
            f"it was tested on other images than {others[0]['folder']} ({run['data']}, "
            f"{others[0]['data']}): delete it, or use other `runs`"
        )
    return run


def _report(
    scope: str, config: ReproduceConfig, runs: list[Run], problems: dict[str, str], watch: Watch
) -> Report:
    """All numbers, and what they say of the paper's claims."""
    models: dict[str, Path] = {}
    for run in select(runs, part="tables"):
        models.setdefault(run["model"], RunFolder(config.runs / run["folder"]).model)
    watch("note", f"latency and memory of {len(models)} models: leave the machine alone")
    asked = {"framework", "device", "epochs", "seeds"}
    given = config.model_dump(exclude_defaults=True, include=asked)
    if given["framework"] == "mindspore":  # which `auto` prefers
        del given["framework"]
    flags = [f"--{scope}", *(f"--{name} {value}" for name, value in given.items())]
    report = {
        "what": "the paper's Tables 1 and 2, Figure 2 and claims, beside what we measure",
        "command": " ".join(["maam reproduce", *flags]),
        "scope": scope,
        "data": ", ".join(dict.fromkeys(run["data"] for run in runs)),
        "trainings": {"planned": len(runs) + len(problems), "finished": len(runs)},
        "problems": problems,
        "environment": environment(),
        "inference": latency.measure(models),
        "speed": measured.speed(config.results / "framework_speed.json"),
        "nodes": measured.nodes(config.results / "graph_nodes.json"),
        "search": measured.search(config.results / "search.json"),
        "runs": runs,
    }
    judged = [asdict(claim) for claim in (*training_claims(report), *cost_claims(report))]
    return {**report, "claims": judged}


def _write(report: Report, config: ReproduceConfig) -> Path:
    """``reproduce.json``, and the pages that show it."""
    tail = "-quick" if report["scope"] == "quick" else ""
    text = json.dumps(report, indent=1) + "\n"
    make_folder(config.results)
    write_atomic(config.results / f"reproduce{tail}.json", text)
    return page.write(report, config.docs, f"reproduction{tail}")
