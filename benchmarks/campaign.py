"""Train a list of recipes and seeds in PyTorch, one after the other, within a time budget.

    PYTHONPATH=src python benchmarks/campaign.py recipes/maam-cifar10.toml:0,1,2 --budget 1700

A job is RECIPE:SEED[,SEED ...]; its run folder is OUT/RECIPE-seed-SEED. ``@FILE`` stands for the
jobs in a file, one a line, as ``maam reproduce --jobs`` writes them. Jobs run in order, each in
a process of its own, ``--parallel`` of them at a time (small models leave most of a GPU idle).
After every epoch a run can be resumed, after every job its weights and scores lie in its folder,
and ``OUT/campaign.json`` sums up all that lie in OUT. Killed, or out of time, the campaign goes on
where it stopped when the same command is given again: finished jobs are skipped, begun ones
resumed. Exit code 0: no job failed; 1: some did, each with its line; 2: bad input.

Needs PyTorch, NumPy, Pillow and safetensors, nothing else, and no installation. Where everything is
installed, ``maam train --resume OUT/RECIPE-seed-SEED`` adds all scores, the plots, the model card
and ``model.onnx`` to a finished run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from maam import checkpoint
from maam.errors import MaamError
from maam.files import locked, write_atomic
from maam.job import check_begun, prepare, write_facts
from maam.recipe import read_recipe, resolve
from maam.report import read_history

SCORES = "scores.json"  # in a run folder; a job that has it is finished
REST = 5.0  # seconds of the budget that no epoch is begun in
OUT_OF_TIME = 3  # exit code of a child
STEPS = 40  # after so many an epoch's time is foreseen


class _OutOfTime(Exception):
    """No time to end this epoch, or for another one."""


class Job(NamedTuple):
    """One training."""

    recipe: Path
    seed: int
    folder: Path


def main() -> None:
    description = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=description, fromfile_prefix_chars="@")
    jobs = "trainings, or @FILE that holds them, one a line"
    parser.add_argument("jobs", nargs="+", metavar="RECIPE:SEED[,SEED...]", help=jobs)
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds in all")
    out = "where the run folders go (%(default)s)"
    parser.add_argument("--out", type=Path, default=Path("runs/campaign"), help=out)
    parser.add_argument("--parallel", type=int, default=1, help="jobs at a time")
    parser.add_argument("--data-dir", help="where cifar10 or fashion-mnist lies")
    parser.add_argument("--device", choices=["auto", "CPU", "CUDA"], default="auto")
    parser.add_argument("--child", nargs=2, type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        if options.child:
            parent, until = options.child
            (job,) = parse(options.jobs, options.out)
            given = {"framework": "torch", "device": options.device}
            given |= {"data_dir": options.data_dir} if options.data_dir else {}
            code = run_job(job, given, int(parent), until)
        else:
            if options.parallel < 1:
                raise MaamError(f"--parallel {options.parallel}: at least 1 job at a time")
            code = run_all(options, time.time() + options.budget)
    except MaamError as error:
        print(f"campaign: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def parse(texts: Sequence[str], out: Path) -> list[Job]:
    """``recipe.toml:0,1`` -> two jobs, and so on for all.

    Raises:
        MaamError: one is not of this form, there is no such recipe, or two share a run folder.
    """
    jobs: list[Job] = []
    for text in texts:
        recipe, _, seeds = text.rpartition(":")
        if not recipe or not all(seed.isascii() and seed.isdigit() for seed in seeds.split(",")):
            raise MaamError(
                f"{text!r} is not a job: write RECIPE.toml:SEED or RECIPE.toml:SEED,SEED"
            )
        resolve({}, recipe)
        if read_recipe(Path(recipe)).get("framework") == "mindspore":
            raise MaamError(f"{recipe} is for MindSpore: `maam train --recipe {recipe}` trains it")
        path = Path(recipe)
        for seed in map(int, seeds.split(",")):
            jobs.append(Job(path, seed, out / f"{path.stem}-seed-{seed}"))
            if len({job.folder for job in jobs}) < len(jobs):
                raise MaamError(
                    f"{text!r}: another job has the run folder {jobs[-1].folder} already"
                )
    return jobs


def run_all(options: argparse.Namespace, until: float) -> int:
    """Run all jobs that are not finished, each in a child: this script with one job."""
    jobs = parse(options.jobs, options.out)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MaamError(f"cannot make --out {options.out}: {error}") from None
    waiting = [job for job in jobs if not (job.folder / SCORES).exists()]
    print(f"{len(jobs)} jobs, {len(jobs) - len(waiting)} finished before", flush=True)
    running: list[tuple[subprocess.Popen, Job]] = []
    failed = False
    while running or (waiting and time.time() + REST < until):
        while waiting and len(running) < options.parallel and time.time() + REST < until:
            job = waiting.pop(0)
            command = [sys.executable, __file__, f"{job.recipe}:{job.seed}"]
            command += ["--out", str(options.out), "--device", options.device]
            command += ["--data-dir", options.data_dir] if options.data_dir else []
            command += ["--child", str(os.getpid()), repr(until)]
            running.append((subprocess.Popen(command), job))
        time.sleep(0.1)
        for child, job in [pair for pair in running if pair[0].poll() is not None]:
            running.remove((child, job))
            if child.returncode == OUT_OF_TIME:
                waiting.clear()
            elif child.returncode:
                failed = True
                print(f"{job.folder} failed: exit {child.returncode}", flush=True)
            summarise(options.out)
    summarise(options.out)
    finished = sum((job.folder / SCORES).exists() for job in jobs)
    print(f"{finished} of {len(jobs)} jobs are finished", flush=True)
    return int(failed)


def run_job(job: Job, given: dict[str, Any], parent: int, until: float) -> int:
    """Train one job, from where it stopped, and score its best weights on the test split.

    Raises:
        MaamError: bad data, a folder that is not this job's or in use, or numbers that are not
            finite.
    """
    with locked(job.folder):
        return _run_locked(job, given, parent, until)


def _run_locked(job: Job, given: dict[str, Any], parent: int, until: float) -> int:
    import maam.torch as framework

    wanted = resolve({**given, "seed": job.seed, "out": job.folder}, job.recipe)
    begun = check_begun(job.folder, wanted)
    if begun:
        here = {key: given[key] for key in ("device", "data_dir") if key in given}
        config = resolve(here, run=job.folder)
        known = checkpoint.read_meta(job.folder)
        if "metrics" in known:  # `maam train` has finished it
            write_scores(job, known, known["metrics"]["accuracy"])
            return 0
    else:
        config = wanted
    name, last_event = job.folder.name, time.time()

    def watch(kind: str, facts: dict[str, Any]) -> None:
        nonlocal last_event
        if os.getppid() != parent:
            sys.exit(f"{name}: the campaign was killed")
        if kind == "step":
            done, now = facts["step"] + 1, time.time()
            left = (now - last_event) / done * (training.steps - done)
            if now + (left if done >= STEPS else 0) > until:
                raise _OutOfTime
        if kind != "epoch":
            return
        accuracy = facts["val_accuracy"]
        spent, last_event = time.time() - last_event, time.time()
        print(
            f"{name} epoch {facts['epoch']}/{config.epochs} loss {facts['train_loss']:.4f} "
            f"val {'-' if accuracy is None else f'{accuracy:.4f}'} {spent:.1f} s",
            flush=True,
        )
        if facts["epoch"] < config.epochs and time.time() + spent + REST > until:
            raise _OutOfTime

    training = prepare(config, job.folder if begun else None, framework, watch)
    write_facts(training)
    last_event = time.time()
    try:
        before = read_history(job.folder)
        unfinished = len(before) < config.epochs
        if before and unfinished and time.time() + before[-1]["seconds"] + REST > until:
            raise _OutOfTime
        framework.fit(training)
    except _OutOfTime:
        print(f"{name} stops here: out of time", flush=True)
        return OUT_OF_TIME
    net, _ = framework.load_model(job.folder)
    dataset = training.dataset
    split = dataset.test if len(dataset.test) else dataset.val
    logits = framework.compute_logits(net, split, training.preprocessing)
    write_scores(job, training.meta, float((logits.argmax(1) == split.labels).mean()))
    return 0


def write_scores(job: Job, meta: dict[str, Any], accuracy: float) -> None:
    """Write the file that says that a job is finished."""
    history = read_history(job.folder)
    scores = {
        "recipe": job.recipe.stem,
        "seed": job.seed,
        "model": meta["model"],
        "parameters": meta["parameters"],
        "macs": meta["macs"],
        "accuracy": accuracy,
        "epochs": len(history),
        "train_seconds": round(sum(row["seconds"] for row in history), 1),
        "data": meta["data_source"],
        "device": meta["device"],
    }
    write_atomic(job.folder / SCORES, json.dumps(scores, indent=1) + "\n")
    print(f"{job.folder.name} accuracy {accuracy:.4f}", flush=True)


def summarise(out: Path) -> None:
    """Write all scores in ``out``, and mean and deviation over the seeds of each recipe."""
    runs = [json.loads(file.read_text()) for file in sorted(out.glob(f"*/{SCORES}"))]
    found: dict[str, list[float]] = {}
    for run in runs:
        found.setdefault(run["recipe"], []).append(run["accuracy"])
    recipes = {
        recipe: {
            "runs": len(values),
            "mean": mean(values),
            "deviation": stdev(values) if len(values) > 1 else None,
        }
        for recipe, values in found.items()
    }
    report = {"recipes": recipes, "runs": runs}
    write_atomic(out / "campaign.json", json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
