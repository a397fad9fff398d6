"""Train a list of recipes and seeds in PyTorch, one after the other, within a time budget.

    PYTHONPATH=src python benchmarks/campaign.py recipes/maam-cifar10.toml:0,1,2 --budget 1700

A job is RECIPE:SEED[,SEED ...]; its run folder is OUT/RECIPE-seed-SEED. Jobs run in order, each in
a process of its own, ``--parallel`` of them at a time (small models leave most of a GPU idle).
After every epoch a run can be resumed, after every job its weights and scores lie in its folder,
and ``OUT/campaign.json`` sums all up. Killed, or out of time, the campaign goes on where it stopped
when the same command is given again: finished jobs are skipped, begun ones resumed.

Needs PyTorch, NumPy, Pillow and safetensors, nothing else, and no installation. Where everything is
installed, ``maam train --resume OUT/RECIPE-seed-SEED`` adds all scores, the plots, the model card
and ``model.onnx`` to a finished run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from maam import checkpoint
from maam.config import resolve
from maam.errors import MaamError
from maam.files import write_atomic
from maam.job import prepare, write_facts

SCORES = "scores.json"  # in a run folder; a job that has it is finished
REST = 5.0  # seconds of the budget that no epoch is begun in


class _OutOfTime(Exception):
    """No time for another epoch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("jobs", nargs="+", metavar="RECIPE:SEED[,SEED...]")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds in all")
    parser.add_argument("--out", type=Path, default=Path("runs/campaign"))
    parser.add_argument("--parallel", type=int, default=1, help="jobs at a time")
    parser.add_argument("--data-dir", help="where cifar10 or fashion-mnist lies")
    parser.add_argument("--device", choices=["auto", "CPU", "CUDA"], default="auto")
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)  # of a child
    options = parser.parse_args()
    try:
        jobs = [job for text in options.jobs for job in parse(text)]
        given = {"framework": "torch", "device": options.device}
        if options.data_dir:
            given["data_dir"] = options.data_dir
        if options.until is not None:
            run_job(*jobs[0], options.out, given, options.until)
        else:
            run_all(jobs, options, time.time() + options.budget)
    except MaamError as error:
        sys.exit(f"campaign: {error}")


def parse(text: str) -> list[tuple[Path, int]]:
    """``recipe.toml:0,1`` -> [(recipe.toml, 0), (recipe.toml, 1)].

    Raises:
        MaamError: it is not of this form, or there is no such recipe.
    """
    recipe, _, seeds = text.rpartition(":")
    try:
        jobs = [(Path(recipe), int(seed)) for seed in seeds.split(",")]
    except ValueError:
        jobs = []
    if not recipe or not jobs:
        raise MaamError(f"{text!r} is not a job: write RECIPE.toml:SEED or RECIPE.toml:SEED,SEED")
    resolve({}, recipe)
    return jobs


def folder_of(recipe: Path, seed: int, out: Path) -> Path:
    """The run folder of a job."""
    return out / f"{recipe.stem}-seed-{seed}"


def run_all(jobs: list[tuple[Path, int]], options: argparse.Namespace, until: float) -> None:
    """Run all jobs that are not finished; each child is this script with one job."""
    waiting = [job for job in jobs if not (folder_of(*job, options.out) / SCORES).exists()]
    print(f"{len(jobs)} jobs, {len(jobs) - len(waiting)} finished before", flush=True)
    running: list[tuple[subprocess.Popen, tuple[Path, int]]] = []
    while running or (waiting and time.time() + REST < until):
        while waiting and len(running) < options.parallel and time.time() + REST < until:
            recipe, seed = waiting.pop(0)
            command = [sys.executable, __file__, f"{recipe}:{seed}", "--out", str(options.out)]
            command += ["--device", options.device, "--until", repr(until)]
            command += ["--data-dir", options.data_dir] if options.data_dir else []
            running.append((subprocess.Popen(command), (recipe, seed)))
        time.sleep(0.1)
        for child, job in [pair for pair in running if pair[0].poll() is not None]:
            running.remove((child, job))
            if child.returncode:
                print(f"{folder_of(*job, options.out)}: exit {child.returncode}", flush=True)
            write_atomic(
                options.out / "campaign.json", json.dumps(summary(jobs, options.out), indent=1)
            )
    write_atomic(options.out / "campaign.json", json.dumps(summary(jobs, options.out), indent=1))
    finished = sum((folder_of(*job, options.out) / SCORES).exists() for job in jobs)
    print(f"{finished} of {len(jobs)} jobs are finished", flush=True)


def run_job(recipe: Path, seed: int, out: Path, given: dict[str, Any], until: float) -> None:
    """Train one job, from where it stopped, and score its best weights on the test split.

    Raises:
        MaamError: bad data, or numbers that are not finite.
    """
    import maam.torch as framework

    folder = folder_of(recipe, seed, out)
    begun = (folder / checkpoint.META).exists()
    if begun:
        config = resolve(
            {key: given[key] for key in ("device", "data_dir") if key in given}, run=folder
        )
    else:
        shutil.rmtree(folder, ignore_errors=True)  # killed before it held anything
        config = resolve({**given, "seed": seed, "out": folder}, recipe)
    start, parent = time.perf_counter(), os.getppid()

    def watch(kind: str, facts: dict[str, Any]) -> None:
        if os.getppid() != parent:
            sys.exit("the campaign was killed")  # or two would train this job, once it goes on
        if kind != "epoch":
            return
        accuracy = facts["val_accuracy"]
        print(
            f"{folder.name} epoch {facts['epoch']}/{config.epochs} loss {facts['train_loss']:.4f} "
            f"val {'-' if accuracy is None else f'{accuracy:.4f}'} {facts['seconds']:.1f} s",
            flush=True,
        )
        last = facts["epoch"] == config.epochs
        if not last and time.time() + facts["seconds"] + REST > until:
            raise _OutOfTime

    job = prepare(config, folder if begun else None, framework, watch)
    write_facts(job)
    try:
        history = framework.fit(job)
    except _OutOfTime:
        print(f"{folder.name} stops here: out of time", flush=True)
        return
    net, _ = framework.load_model(folder)
    split = job.dataset.test if len(job.dataset.test) else job.dataset.val
    logits = framework.compute_logits(net, split, job.preprocessing)
    scores = {
        "recipe": recipe.stem,
        "seed": seed,
        "model": config.model,
        "parameters": job.meta["parameters"],
        "macs": job.meta["macs"],
        "accuracy": float((logits.argmax(1) == split.labels).mean()),
        "epochs": len(history),
        "train_seconds": round(sum(row["seconds"] for row in history), 1),
        "seconds": round(time.perf_counter() - start, 1),
        "data": job.dataset.source,
        "device": job.meta["device"],
    }
    write_atomic(folder / SCORES, json.dumps(scores, indent=1) + "\n")
    print(f"{folder.name} accuracy {scores['accuracy']:.4f}", flush=True)


def summary(jobs: list[tuple[Path, int]], out: Path) -> dict[str, Any]:
    """All scores, and mean and deviation over the seeds of each recipe."""
    files = [folder_of(*job, out) / SCORES for job in jobs]
    runs = [json.loads(file.read_text()) for file in files if file.exists()]
    recipes = {}
    for run in runs:
        recipes.setdefault(run["recipe"], []).append(run["accuracy"])
    table = {
        name: {
            "runs": len(found),
            "mean": mean(found),
            "deviation": stdev(found) if len(found) > 1 else None,
        }
        for name, found in recipes.items()
    }
    return {"recipes": table, "runs": runs, "waiting": len(jobs) - len(runs)}


if __name__ == "__main__":
    main()
