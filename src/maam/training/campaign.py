"""Train a queue of recipes and seeds, one after the other, within a time budget.

    python -m maam.training.campaign recipes/resnet8.toml:0,1,2 --budget 1700
    python -m maam.training.campaign @experiments/queue.txt --out runs/campaign

An entry of the queue is RECIPE:SEED[,SEED ...]; its run folder is OUT/RECIPE-seed-SEED. ``@FILE``
stands for the entries in a file, one a line, as ``maam reproduce --jobs`` writes them; empty lines
and those that begin with # do not count. Trainings run in order, each in a process of its own,
``--parallel`` of them at a time (small models leave most of a GPU idle). After every epoch a run
can be resumed, after every training its weights and scores lie in its folder, and
``OUT/campaign.json`` sums up all that lie in OUT. Killed, or out of time, the campaign goes on
where it stopped when the same command is given again: finished trainings are skipped, begun ones
resumed. Exit code 0: none failed; 1: some did, each with its line; 2: bad input.

Needs the recipes' framework (PyTorch, unless they say otherwise), NumPy, Pillow and safetensors,
nothing else, and no installation: ``PYTHONPATH=src`` will do. Where everything is installed,
``maam train --resume OUT/RECIPE-seed-SEED`` adds all scores, the plots, the model card and
``model.onnx`` to a finished run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NoReturn

from maam.core import frameworks
from maam.core.errors import MaamError
from maam.core.files import make_folder, write_atomic
from maam.core.recipes import read_recipe
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.training.events import Epoch, Event, Step
from maam.training.finalize import operators_used
from maam.training.options import resolve
from maam.training.setup import check_begun, set_up
from maam.training.small_first import times_as_long

REST = 5.0  # seconds of the budget that no epoch is begun in
OUT_OF_TIME = 3  # exit code of a child
STEPS = 40  # after so many an epoch's time is foreseen


class _OutOfTime(Exception):
    """No time to end this epoch, or for another one."""


@dataclass(frozen=True)
class Training:
    """One entry of the queue with one seed."""

    recipe: Path
    seed: int
    folder: RunFolder


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise MaamError(f"{message}; {self.prog} --help lists the options")


def main() -> None:
    description = (__doc__ or "").splitlines()[0]
    parser = _Parser(prog="python -m maam.training.campaign", description=description)
    queue = "trainings, or @FILE that holds them, one a line"
    parser.add_argument("queue", nargs="+", metavar="RECIPE:SEED[,SEED...]", help=queue)
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds in all")
    out = "where the run folders go (%(default)s)"
    parser.add_argument("--out", type=Path, default=Path("runs/campaign"), help=out)
    parser.add_argument("--parallel", type=int, default=1, help="trainings at a time")
    parser.add_argument("--data-dir", help="where cifar10 or fashion-mnist lies")
    parser.add_argument("--device", choices=["auto", "CPU", "CUDA", "Ascend"], default="auto")
    parser.add_argument("--child", nargs=2, type=float, help=argparse.SUPPRESS)
    try:
        options = parser.parse_args()
        if options.child:
            parent, until = options.child
            (training,) = parse(options.queue, options.out)
            code = run_training(training, _given(options), int(parent), until)
        else:
            if options.parallel < 1:
                raise MaamError(f"--parallel {options.parallel}: at least 1 training at a time")
            if not options.budget >= 0:
                raise MaamError(f"--budget {options.budget}: 0 seconds or more")
            code = run_all(options, time.time() + options.budget)
    except MaamError as error:
        print(f"campaign: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The options that override the recipes'."""
    given = {"device": options.device}
    return given | ({"data_dir": options.data_dir} if options.data_dir else {})


def _options_of(recipe: Path) -> dict[str, Any]:
    """PyTorch, unless the recipe says otherwise."""
    chosen = read_recipe(recipe).get("framework", "auto")
    return {"framework": "torch"} if chosen == "auto" else {}


def parse(texts: Sequence[str], out: Path) -> list[Training]:
    """``recipe.toml:0,1`` -> two trainings, and so on for all.

    Raises:
        MaamError: one is not of this form, its recipe is wrong, or two share a run folder.
    """
    trainings: list[Training] = []
    for text in _entries(texts):
        recipe, _, seeds = text.rpartition(":")
        if not recipe or not all(seed.isascii() and seed.isdigit() for seed in seeds.split(",")):
            raise MaamError(
                f"{text!r} is not a training: write RECIPE.toml:SEED or RECIPE.toml:SEED,SEED"
            )
        path = Path(recipe)
        config = resolve(_options_of(path), path)
        if config.model == "auto" or config.minutes is not None:
            raise MaamError(f"{path}: a campaign plans nothing: name `model`, and no `minutes`")
        for seed in map(int, seeds.split(",")):
            folder = out / f"{path.stem}-seed-{seed}"
            if any(each.folder.path == folder for each in trainings):
                raise MaamError(f"{text!r}: another training has the run folder {folder} already")
            trainings.append(Training(path, seed, RunFolder(folder)))
    return trainings


def _entries(texts: Sequence[str]) -> Iterator[str]:
    """The entries, with those that stand in a file in place of its ``@FILE``."""
    for text in texts:
        if not text.startswith("@"):
            yield text
            continue
        try:
            lines = Path(text[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise MaamError(f"{text}: {reason}; name a file with a training a line") from error
        yield from (line.strip() for line in lines if line.strip() and line.strip()[0] != "#")


def run_all(options: argparse.Namespace, until: float) -> int:
    """Run all trainings that are not finished, each in a child: this module with one of them."""
    trainings = parse(options.queue, options.out)
    make_folder(options.out)
    summarise(options.out)  # so that damaged scores are found before anything is trained
    waiting = [each for each in trainings if not each.folder.scores.exists()]
    before = len(trainings) - len(waiting)
    print(f"{len(trainings)} trainings, {before} finished before", flush=True)
    running: list[tuple[subprocess.Popen, Training]] = []
    failed = False
    while running or (waiting and time.time() + REST < until):
        while waiting and len(running) < options.parallel and time.time() + REST < until:
            each = waiting.pop(0)
            command = [sys.executable, "-m", "maam.training.campaign"]
            command += [f"{each.recipe}:{each.seed}", "--out", str(options.out)]
            command += ["--device", options.device]
            command += ["--data-dir", options.data_dir] if options.data_dir else []
            command += ["--child", str(os.getpid()), repr(until)]
            running.append((subprocess.Popen(command), each))
        time.sleep(0.1)
        for child, each in [pair for pair in running if pair[0].poll() is not None]:
            running.remove((child, each))
            if child.returncode == OUT_OF_TIME:
                waiting.clear()
            elif child.returncode:
                failed = True
                print(f"{each.folder} failed: exit {child.returncode}", flush=True)
            summarise(options.out)
    summarise(options.out)
    finished = sum(each.folder.scores.exists() for each in trainings)
    print(f"{finished} of {len(trainings)} trainings are finished", flush=True)
    return int(failed)


def run_training(training: Training, given: dict[str, Any], parent: int, until: float) -> int:
    """Train, from where it stopped, and score the best weights on the test split.

    Raises:
        MaamError: bad data, a folder that is another training's or in use, or numbers that are not
            finite.
    """
    folder, name = training.folder, training.folder.path.name
    wanted = resolve(
        {**_options_of(training.recipe), **given, "seed": training.seed, "out": folder.path},
        training.recipe,
    )
    begun = check_begun(folder, wanted)
    config = resolve(given, run=folder.path) if begun else wanted
    if begun and folder.is_finished():  # by `maam train`
        meta = folder.read_meta()
        write_scores(training, meta, (meta.metrics or {})["accuracy"])
        return 0
    last_event = first_step = time.time()

    def allow(last: float, done: int) -> None:  # seconds of the last epoch, and how many
        seconds = last * times_as_long(config, run.preprocessing.size, done)
        if done < config.epochs and time.time() + seconds + REST > until:
            raise _OutOfTime

    def watch(event: Event) -> None:
        nonlocal last_event, first_step
        if os.getppid() != parent:
            sys.exit(f"{name}: the campaign was killed")
        if isinstance(event, Step):
            now = time.time()
            first_step = first_step if event.step else now  # it may take longer than others
            left = (now - first_step) / max(1, event.step) * (run.steps - 1 - event.step)
            if now + (left if event.step >= STEPS else 0) > until:
                raise _OutOfTime
        elif isinstance(event, Epoch):
            spent, last_event = time.time() - last_event, time.time()
            val = "-" if event.val_accuracy is None else f"{event.val_accuracy:.4f}"
            facts = f"loss {event.train_loss:.4f} val {val} {spent:.1f} s"
            print(f"{name} epoch {event.epoch}/{config.epochs} {facts}", flush=True)
            allow(spent, event.epoch)

    backend = frameworks.use(config.framework)
    with ExitStack() as held:
        run = set_up(config, folder.path if begun else None, backend, watch, held)
        last_event = time.time()
        try:
            if before := folder.read_history():
                allow(before[-1]["seconds"], len(before))
            backend.fit(run)
        except _OutOfTime:
            print(f"{name} stops here: out of time", flush=True)
            return OUT_OF_TIME
        operators = run.meta.operators or operators_used(run, backend)
        folder.write_meta(replace(run.meta, operators=operators))
        net, _ = backend.load_model(folder.path)
        split = run.dataset.scored
        logits = backend.compute_logits(net, split, run.preprocessing)
        accuracy = float((logits.argmax(1) == split.labels).mean())
        write_scores(training, run.meta, accuracy)
    return 0


def write_scores(training: Training, meta: RunMeta, accuracy: float) -> None:
    """Write the file that says that a training is finished."""
    history = training.folder.read_history()
    scores = {
        "recipe": training.recipe.stem,
        "seed": training.seed,
        "model": meta.model,
        "parameters": meta.parameters,
        "macs": meta.macs,
        "accuracy": accuracy,
        "epochs": len(history),
        "train_seconds": round(sum(row["seconds"] for row in history), 1),
        "data": meta.data_source,
        "device": meta.device_name or meta.device,
    }
    write_atomic(training.folder.scores, json.dumps(scores, indent=1) + "\n")
    print(f"{training.folder.path.name} accuracy {accuracy:.4f}", flush=True)


def summarise(out: Path) -> None:
    """Write all scores in ``out``, and mean and deviation over the seeds of each recipe.

    Raises:
        MaamError: a file of scores is damaged.
    """
    runs = []
    accuracies: dict[str, list[float]] = {}
    for file in sorted(out.glob(f"*/{RunFolder(out).scores.name}")):
        try:
            run = json.loads(file.read_text(encoding="utf-8"))
            accuracies.setdefault(run["recipe"], []).append(float(run["accuracy"]))
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise MaamError(
                f"{file} is damaged: move it away, and train or resume that run"
            ) from error
        runs.append(run)
    recipes = {
        recipe: {
            "runs": len(values),
            "mean": mean(values),
            "deviation": stdev(values) if len(values) > 1 else None,
        }
        for recipe, values in accuracies.items()
    }
    report = {"recipes": recipes, "runs": runs}
    write_atomic(out / "campaign.json", json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
