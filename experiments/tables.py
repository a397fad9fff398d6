"""The paper's Tables 1 and 2 and Figure 2 once more, trained as the best of the search.

    python -m maam.training.campaign @experiments/queue.txt --out runs/queue
    maam train --resume runs/queue/table-maam-seed-0    # each one: adds all scores
    python experiments/tables.py runs/queue    # adds what is finished there

Writes results/tables.json, docs/tables.md and docs/tables/loss.png; without a folder, the pages
alone.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from maam.core.errors import MaamError
from maam.core.files import make_folder, write_atomic
from maam.core.recipes import read_recipe
from maam.core.run_folder import RunFolder
from maam.paper import figures, sections
from maam.paper.plan import TABLE_1, TABLE_2, Row
from maam.paper.published import NAMES
from maam.paper.runs import Report, Run, accuracy_of, read_run, tables_of
from maam.paper.words import counted, machines, percent, plus_minus

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "experiments" / "recipes"
RESULTS = ROOT / "results" / "tables.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="*", help="folders of the campaign runner")
    given = parser.parse_args()
    try:
        runs = json.loads(RESULTS.read_text(encoding="utf-8"))["runs"] if RESULTS.exists() else []
        for folder in given.runs:
            runs = merged(runs, read(folder))
        if not runs:
            raise MaamError("nothing is trained yet: name the campaign runner's folder")
    except MaamError as error:
        print(f"tables: {error}", file=sys.stderr)
        sys.exit(2)
    report = {"what": "test scores and training losses of the paper's models", "runs": runs}
    write_atomic(RESULTS, json.dumps(report, indent=1) + "\n")
    make_folder(ROOT / "docs" / "tables")
    figures.losses(report, ROOT / "docs" / "tables" / "loss.png")
    write_atomic(ROOT / "docs" / "tables.md", page(report))


def read(folder: Path) -> list[Run]:
    """The finished trainings of these recipes.

    Raises:
        MaamError: there is none, or one lacks scores that its resumption adds.
    """
    runs = []
    for path in sorted(folder.iterdir()):
        name = re.fullmatch(r"(table-.+)-seed-(\d+)", path.name)
        if not name or not RunFolder(path).scores.exists():
            continue
        if not RunFolder(path).is_finished():
            raise MaamError(f"{path} lacks scores: `maam train --resume {path}` adds them")
        seed = int(name[2])
        row = Row("tables", name[1], "", read_recipe(RECIPES / f"{name[1]}.toml"), (seed,))
        runs.append(read_run(path, row, seed))
    if not runs:
        raise MaamError(f"{folder} has no finished training of {RECIPES}/table-*.toml")
    return runs


def merged(old: Sequence[Run], new: Sequence[Run]) -> list[Run]:
    """New trainings take the place of old ones of the same folder; in the order of the tables."""
    order = (*TABLE_1, *TABLE_2)
    runs = {run["folder"]: run for run in (*old, *new)}
    return sorted(runs.values(), key=lambda run: (order.index(run["model"]), run["seed"]))


def page(report: Report) -> str:
    """docs/tables.md."""
    return "\n\n".join(_parts(report)) + "\n"


def _parts(report: Report) -> Iterator[str]:
    epochs = sorted({run["epochs"] for run in report["runs"]})
    yield "# The paper's tables by a longer training"
    yield (
        "Written by `python experiments/tables.py RUNS`, from results/tables.json. "
        "[The reproduction](reproduction.md) trains for 15 epochs with Adam, [the search]"
        f"(search.md) found better options: these, for {' or '.join(map(str, epochs))} epochs, for "
        "the paper's model, its opponents and its ablations alike. Each row is "
        "`python -m maam.training.campaign experiments/recipes/table-MODEL.toml:0,1,2 --out RUNS`, "
        "a training on all 50,000 images of CIFAR-10 (JPEG copy); "
        f"{machines(report['runs'])}. Scores are of the 10,000 test images after the last epoch, "
        "mean ± standard deviation where there are several seeds."
    )
    yield from _differences(report)
    yield "## Table 1: models"
    yield from sections.scores(report, TABLE_1)
    yield "## Table 2: ablations"
    yield from sections.scores(report, TABLE_2)
    yield "## Figure 2: training loss"
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
