"""The paper's Tables 1 and 2 and Figure 2 once more, trained as the best of the search.

    python -m maam.training.campaign @experiments/queue.txt --out runs/queue
    maam train --resume runs/queue/table-maam-seed-0    # each one: adds all scores
    python benchmarks/tables.py runs/queue    # adds what is finished there

Writes results/tables.json, docs/tables.md and docs/tables/loss.png; without a folder, the pages
alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ship import options, wanted

from maam.core.errors import MaamError
from maam.core.files import make_folder, write_atomic
from maam.core.recipes import read_recipe
from maam.core.run_folder import RunFolder
from maam.paper import figures, sections
from maam.paper.plan import TABLE_1, TABLE_2, Row
from maam.paper.published import NAMES
from maam.paper.runs import Report, Run, accuracy_of, read_run, tables_of
from maam.paper.words import counted, machines, percent, plus_minus
from maam.training.options import resolve

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "experiments" / "recipes"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="*", help="folders of the campaign runner")
    given = parser.parse_args()
    results, docs = ROOT / "results" / "tables.json", ROOT / "docs"
    try:
        runs = earlier(results)
        for folder in given.runs:
            runs = merged(runs, read(folder))
        if not runs:
            raise MaamError("nothing is trained yet: name the campaign runner's folder")
    except MaamError as error:
        print(f"tables: {error}", file=sys.stderr)
        sys.exit(2)
    report = {"what": "test scores and training losses of the paper's models", "runs": runs}
    text = page(report)
    make_folder(docs / "tables")
    figures.losses(report, docs / "tables" / "loss.png")
    write_atomic(docs / "tables.md", text)
    write_atomic(results, json.dumps(report, indent=1) + "\n")


def earlier(path: Path) -> list[Run]:
    """The runs of results/tables.json.

    Raises:
        MaamError: the file is damaged.
    """
    try:
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
        return [run for run in runs if run["folder"] and run["loss"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MaamError(f"{path} is damaged, restore or delete it: {error}") from None


def read(folder: Path) -> list[Run]:
    """The finished trainings of these recipes.

    Raises:
        MaamError: there is none, one lacks scores that its resumption adds, or was not trained as
            its recipe says.
    """
    runs = []
    for path in sorted(folder.glob("table-*-seed-*")):
        recipe, _, seed = path.name.rpartition("-seed-")
        run = RunFolder(path)
        if not seed.isdigit() or not run.is_begun():
            continue
        if not run.is_finished():
            if run.scores.exists():
                raise MaamError(f"{path} lacks scores: `maam train --resume {path}` adds them")
            continue
        file, meta = RECIPES / f"{recipe}.toml", run.read_meta()
        if wanted(file, meta) != options(meta.config) or meta.config["seed"] != int(seed):
            raise MaamError(f"{path} was not trained by {file} with seed {seed}")
        row = Row("tables", recipe, "", read_recipe(file), (int(seed),))
        runs.append(read_run(path, row, int(seed)))
    if not runs:
        raise MaamError(f"{folder} has no finished training of {RECIPES}/table-*.toml")
    return runs


def merged(old: Sequence[Run], new: Sequence[Run]) -> list[Run]:
    """New trainings take the place of old ones of the same folder; in the order of the tables.

    Raises:
        MaamError: not all have the same images and number of epochs.
    """
    order = (*TABLE_1, *TABLE_2)
    runs = {run["folder"]: run for run in (*old, *new)}
    for run in runs.values():
        for key in ("epochs", "images", "digest"):
            if run[key] != new[0][key]:
                raise MaamError(
                    f"{run['folder']} and {new[0]['folder']} differ in {key} ({run[key]}, "
                    f"{new[0][key]}): leave one out, or delete results/tables.json if it is there"
                )
    return sorted(runs.values(), key=lambda run: (order.index(run["model"]), run["seed"]))


def page(report: Report) -> str:
    """docs/tables.md."""
    return "\n\n".join(_parts(report)) + "\n"


def _parts(report: Report) -> Iterator[str]:
    first = report["runs"][0]
    config = resolve({}, RECIPES / "table-maam.toml")
    yield "# The paper's tables by a longer training"
    yield (
        "Written by `python benchmarks/tables.py RUNS`, from results/tables.json. "
        "[The reproduction](reproduction.md) trains for 15 epochs with Adam, [the search]"
        f"(search.md) found better options: these, for {first['epochs']} epochs, for the paper's "
        "model, its opponents and its ablations alike. They are SGD with Nesterov momentum, rate "
        f"{config.learning_rate:g}, weight decay {config.weight_decay:g}, batch "
        f"{config.batch_size}, crop and flip, and CutMix until {config.mix_until:.0%} of the "
        "epochs. Each row is "
        "`python -m maam.training.campaign experiments/recipes/table-MODEL.toml:0,1,2 --out RUNS`, "
        f"a training on {first['images']:,} images of {first['data']}; "
        f"{machines(report['runs'])}. Scores are of the test images after the last epoch, "
        "mean ± standard deviation where there are several seeds."
    )
    yield from _differences(report)
    yield "## Table 1: models"
    yield from sections.scores(report, TABLE_1)
    yield "## Table 2: ablations"
    yield from sections.scores(report, TABLE_2)
    yield "## Figure 2: training loss"
    yield (
        f"The loss is that of mixed images (CutMix) until {config.mix_until:.0%} of the epochs; "
        "then it is that of plain ones, and falls."
    )
    yield from sections.losses(report, "tables")


def _differences(report: Report) -> Iterator[str]:
    """What MAAM is ahead of its opponents, and of what is left of it, where both are trained."""
    if not tables_of(report, "maam"):
        return
    ours, lines = accuracy_of(report, "maam"), []
    for model in dict.fromkeys((*TABLE_1, *TABLE_2)):
        if model != "maam" and tables_of(report, model):
            other = accuracy_of(report, model)
            seeds = f"{counted(ours.count, 'seed')} and {other.count}"
            gap = percent(ours.mean - other.mean, signed=True)
            lines.append(f"- against {NAMES[model]}, {plus_minus(other)} %: {gap} points ({seeds})")
    yield f"MAAM reaches {plus_minus(ours)} %" + (":" if lines else ".")
    yield "\n".join(lines)


if __name__ == "__main__":
    main()
