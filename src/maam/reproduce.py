"""The paper's tables and figure, regenerated, with the paper's numbers beside ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from maam import frameworks
from maam.backend import environment
from maam.config import ReproduceConfig, TrainConfig, make_config
from maam.errors import MaamError
from maam.files import locked, make_folder, write_atomic
from maam.job import check_begun
from maam.paper import claims, inference, page
from maam.paper.collect import is_finished, read_run
from maam.paper.plan import Row, plan, write_recipe
from maam.predict import MODEL

# Told of what happens: a kind (job, line, skip, fail, note) and a text.
Watch = Callable[[str, str], None]


class Reproduction(NamedTuple):
    """What ``reproduce`` returns: the report and where its page is."""

    report: claims.Report
    page: Path


def reproduce(
    scope: Literal["quick", "full"],
    *,
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
        watch: told of jobs, of their lines of output, and of what was left out.
        options: fields of ``ReproduceConfig``.

    Returns:
        The report, as in ``reproduce.json``, and the path of the Markdown page.

    Raises:
        MaamError: bad options, a run folder begun with other options, or a file that can't be
            read or written.
    """
    config = make_config(ReproduceConfig, options)
    rows = plan(scope, config)
    frameworks.require(config.framework)
    problems = {}
    for row in rows:
        for seed in row.seeds:
            name = row.folder(Path(), seed).name
            problem = _train(row, seed, config, watch)
            if problem:
                problems[name] = problem
                watch("skip", f"{name}: {problem}")
    report = _report(scope, config, rows, problems, watch)
    return Reproduction(report, _write(report, config))


def write_jobs(scope: Literal["quick", "full"], folder: Path, **options: Any) -> Path:
    """Write the recipes of what PyTorch trains, and ``jobs.txt`` for ``benchmarks/campaign.py``.

    Raises:
        MaamError: bad options, or a file that can't be written.
    """
    rows = plan(scope, make_config(ReproduceConfig, options))
    rows = [row for row in rows if row.options["framework"] == "torch"]  # all that it trains in
    jobs = [f"{write_recipe(row, folder)}:{','.join(map(str, row.seeds))}" for row in rows]
    path = folder / "jobs.txt"
    write_atomic(path, "\n".join(jobs) + "\n")
    return path


def _train(row: Row, seed: int, config: ReproduceConfig, watch: Watch) -> str:
    """Train one job in a process of its own, unless it is finished; what went wrong, or ""."""
    folder = row.folder(config.runs, seed)
    recipe = write_recipe(row, config.runs / "recipes")
    begun = check_begun(folder, make_config(TrainConfig, {**row.options, "seed": seed}))
    if is_finished(folder):
        return ""
    try:
        frameworks.require(row.options["framework"])
    except MaamError as error:
        return str(error)
    try:
        with locked(folder):
            if begun:
                what = ["--resume", str(folder)]
            else:
                what = ["--recipe", str(recipe), "--seed", str(seed), "--out", str(folder)]
            where = ["--device", config.device]
            where += ["--data-dir", str(config.data_dir)] if config.data_dir else []
            watch("job", folder.name)
            return _run([sys.executable, "-m", "maam", "train", *what, *where], watch)
    except MaamError as error:
        return str(error)


def _run(command: list[str], watch: Watch) -> str:
    """Run a command, line by line; its last line if it fails."""
    line = ""
    unbuffered = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command,
        env=unbuffered,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as child:
        assert child.stdout is not None
        try:
            for text in child.stdout:
                line = text.strip() or line
                watch("line", text.rstrip())
        except BaseException:
            child.terminate()  # it stops at the end of a step, and goes on when it is resumed
            raise
    return f"exit code {child.returncode}: {line}" if child.returncode else ""


def _report(
    scope: str, config: ReproduceConfig, rows: list[Row], problems: dict[str, str], watch: Watch
) -> claims.Report:
    """All numbers, and what they say of the paper's claims."""
    jobs = [(row, seed, row.folder(config.runs, seed)) for row in rows for seed in row.seeds]
    runs = [read_run(folder, row, seed) for row, seed, folder in jobs if is_finished(folder)]
    if not runs:
        raise MaamError(
            f"none of the {len(jobs)} trainings succeeded: {next(iter(problems.values()))}"
        )
    models = {
        row.options["model"]: row.folder(config.runs, 0) / MODEL
        for row in rows
        if row.part == "tables" and is_finished(row.folder(config.runs, 0))
    }
    watch("note", f"latency and memory of {len(models)} models: leave the machine alone")
    report = {
        "what": "the paper's Tables 1 and 2, Figure 2 and claims, beside what we measure",
        "command": f"maam reproduce --{scope}",
        "scope": scope,
        "data": ", ".join(dict.fromkeys(run["data"] for run in runs)),
        "trainings": {"planned": len(jobs), "finished": len(runs), "problems": problems},
        "environment": environment(),
        "inference": inference.measure(models),
        "speed": _speed(config.results / "framework_speed.json"),
        "nodes": _nodes(config.results / "graph_nodes.json"),
        "runs": runs,
    }
    return {**report, "claims": claims.judge(report)}


def _speed(path: Path) -> dict[str, Any] | None:
    """What ``benchmarks/framework_speed.py`` measured of a training step."""
    found = _read_json(path)
    if found is None:
        return None
    rows = [row for row in found["rows"] if row["what"] == "training step"]
    ours = [row for row in rows if (row["model"], row["batch"]) == ("maam", 64)]
    return {
        "command": found["command"],
        "cpu": found["environment"]["cpu"],
        "threads": found["threads"],
        "verdicts": found["verdicts"],
        "forms": {row["form"]: {"label": row["label"], "ms": row["ms"]} for row in ours},
    }


def _nodes(path: Path) -> dict[str, Any] | None:
    """What ``benchmarks/graph_nodes.py`` counted in the training graph."""
    found = _read_json(path)
    if found is None:
        return None
    rows = [row for row in found["rows"] if row["graph"] == "training step"]
    return {"command": found["command"], "forms": {row["form"]: row for row in rows}}


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MaamError(f"{path} is damaged, write it again or delete it: {error}") from None


def _write(report: claims.Report, config: ReproduceConfig) -> Path:
    """``reproduce.json``, and the pages that show it."""
    tail = "-quick" if report["scope"] == "quick" else ""
    text = json.dumps(report, indent=1) + "\n"
    make_folder(config.results)
    write_atomic(config.results / f"reproduce{tail}.json", text)
    return page.write(report, config.docs, f"reproduction{tail}")
