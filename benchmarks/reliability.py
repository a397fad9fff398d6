"""What becomes of faults, bad input and more images than memory: all of the matrix, counted.

    python benchmarks/reliability.py                   # all of it: about three hours
    python benchmarks/reliability.py --only training   # a part: training, images, ...
    python benchmarks/reliability.py --report          # only docs/reliability.md

The cases are those of ``tests/matrix*.py``, of which ``make test`` runs a sample. Writes
results/reliability.json and docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import fuzz_files  # noqa: E402
import matrix_archives  # noqa: E402
import matrix_commands  # noqa: E402
import matrix_configs  # noqa: E402
import matrix_disks  # noqa: E402
import matrix_downloads  # noqa: E402
import matrix_files  # noqa: E402
import matrix_images  # noqa: E402
import matrix_kills  # noqa: E402
import matrix_memory  # noqa: E402
import matrix_numbers  # noqa: E402
import matrix_security  # noqa: E402
from matrix import Counts  # noqa: E402

from maam.core.environment import environment  # noqa: E402
from maam.core.files import write_atomic  # noqa: E402
from maam.report.markdown import code, markdown_table  # noqa: E402
from maam.report.plots import COLOURS, save_figure  # noqa: E402

RESULTS, PAGE = ROOT / "results" / "reliability.json", ROOT / "docs" / "reliability.md"
PLOT = ROOT / "docs" / "memory.png"

FUZZ_SECONDS = 600
STOPPING = (signal.SIGINT, signal.SIGTERM)
POINTS = 40  # of a curve
FACTS = ("cpu", "cores", "maam", "torch", "mindspore")  # of the machine, with each row
LARGE = 180_000  # images of 224x224: 25 GiB of pixels, 9 GB of disk

Run = Callable[[Path], Counts]


def killed(framework: str, kills: int, **options: Any) -> Run:
    """Trainings in a framework that are killed at random moments."""
    return lambda folder: matrix_kills.kill_and_resume(folder, kills, framework, **options)


def fuzzed(name: str) -> Run:
    """Mutations of a file of a run."""
    return lambda folder: matrix_files.fuzz(folder, name, seconds=20)


def followed(name: str) -> Run:
    """Mutations of a file of a run that follow the code they reach."""
    return lambda folder: fuzz_files.fuzz(folder, name, FUZZ_SECONDS)


def alone(framework: str) -> Run:
    """The verbs of a framework while unpickling and sockets are blocked."""
    return lambda folder: matrix_security.verbs_alone(folder, framework)


def matrix(kills: int) -> dict[str, list[tuple[str, Run]]]:
    """Part -> what is tried, in words, and how."""
    each = -(-kills // 4)
    sgd: dict[str, Any] = {"optimizer": "sgd", "cutmix": 1.0, "taught": True}
    same = "a process that is killed at a random moment and resumed: the same to the last bit"
    verbs = "all verbs but benchmark, demo and reproduce"
    stopped = "Ctrl-C and termination at a random moment: out within 5 s, resumed to the last bit"
    return {
        "training": [
            (f"MindSpore, Adam, averaged: {same}", killed("mindspore", each)),
            (f"MindSpore, SGD, CutMix, a teacher: {same}", killed("mindspore", each, **sgd)),
            (f"PyTorch, Adam, averaged: {same}", killed("torch", each)),
            (f"PyTorch, SGD, CutMix, a teacher: {same}", killed("torch", each, **sgd)),
            (f"MindSpore: {stopped}", killed("mindspore", 20, signals=STOPPING)),
            (f"PyTorch: {stopped}", killed("torch", 20, signals=STOPPING)),
            (
                "each write, fsync and rename of checkpoints: the process dies there, or the disk "
                "is full, broken, read-only or over quota",
                matrix_disks.disturb_writing,
            ),
            (
                "real file systems of 4 to 40 KiB: filled, given room, made read-only",
                lambda folder: matrix_disks.small_disks(folder, range(4, 44, 4)),
            ),
            (
                "bit flips and truncations of the newest checkpoint",
                lambda folder: matrix_disks.damage_checkpoints(folder, 1000),
            ),
            (
                "MindSpore: NaN and infinity in batches and weights, at the first, a middle and "
                "the last step, once and always",
                lambda folder: matrix_numbers.poison_numbers(folder, "mindspore"),
            ),
            (
                "PyTorch: the same, and in outputs and gradients",
                lambda folder: matrix_numbers.poison_numbers(folder, "torch"),
            ),
        ],
        "images": [
            ("hostile image files", lambda folder: matrix_images.decode_fixtures()),
            ("mutated image files", lambda folder: matrix_images.decode_mutations(5000)),
            ("the largest images that are read", lambda folder: matrix_images.decode_largest()),
            (
                "hostile files through data, train, evaluate and predict",
                matrix_images.through_the_verbs,
            ),
        ],
        "configurations": [
            ("options, generated", lambda folder: matrix_configs.configs(folder, 3200)),
            ("recipes, mutated", lambda folder: matrix_configs.recipes(folder, 5000)),
            (
                "command lines of all verbs, generated",
                lambda folder: matrix_commands.command_lines(folder, 500),
            ),
            *((f"{name}, mutated for 20 seconds", fuzzed(name)) for name in matrix_files.TARGETS),
            *(
                (f"{name}: {verbs}, with unpickling and sockets blocked", alone(framework))
                for framework, name in (("mindspore", "MindSpore"), ("torch", "PyTorch"))
            ),
        ],
        "fuzzing": [(name, followed(name)) for name in matrix_files.TARGETS],
        "archives": [
            ("tar and zip files made to harm", matrix_archives.attack_with_archives),
            (
                "mutated archives",
                lambda folder: matrix_archives.mutate_archives(folder, 1000),
            ),
            ("downloads from bad servers", matrix_downloads.download_from_bad_servers),
        ],
        "memory": [
            (
                "a folder of 1,000,000 small image files, listed",
                lambda folder: matrix_memory.many_files(folder, 1_000_000),
            ),
            (
                "a pack of 1,000,000 small images: opened, an epoch read, each image once",
                lambda folder: matrix_memory.many_images(folder, 1_000_000),
            ),
            (
                f"1,000 classes at 224x224, {LARGE:,} images of a pack: 300 steps each",
                lambda folder: matrix_memory.large_images(folder, LARGE, 300),
            ),
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(matrix(0)), help="parts")
    parser.add_argument("--kills", type=int, default=200, help="processes that are killed")
    parser.add_argument("--report", action="store_true", help="write the page, run nothing")
    given = parser.parse_args()
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"parts": {}}
    parts = dict(before["parts"])
    if not given.report:
        for part, rows in matrix(given.kills).items():
            if not given.only or part in given.only:
                known = {row["what"]: row for row in parts.get(part, [])}
                for what, how in rows:
                    known[what] = run(what, how)
                    parts[part] = [known[each] for each, _ in rows if each in known]
                    write_atomic(RESULTS, json.dumps({"parts": parts}, indent=1) + "\n")
    draw(parts["memory"], PLOT)
    write_atomic(PAGE, page(parts))
    failures = [row for rows in parts.values() for row in rows if row["failures"]]
    for row in failures:
        print(f"{row['what']}: {row['failures']} {row['examples']}", file=sys.stderr)
    sys.exit(1 if failures else 0)


def run(what: str, how: Run) -> dict[str, Any]:
    """A row of the page."""
    with tempfile.TemporaryDirectory() as folder:
        counts = how(Path(folder))
    print(f"{what}: {counts.cases:,} cases, {sum(counts.failures.values())} failures", flush=True)
    curves = {
        name: [(x, round(y)) for x, y in curve[:: max(1, len(curve) // POINTS)]]
        for name, curve in counts.curves.items()
    }
    row = asdict(counts) | {"failures": dict(counts.failures), "curves": curves}
    facts = {name: environment()[name] for name in FACTS}
    return {"what": what, **row, "seconds": round(counts.seconds, 1), **facts}


def draw(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """The resident memory of processes that read packs, against the images they have read."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    curves = [item for row in rows for item in row["curves"].items()]
    for (name, curve), colour in zip(curves, COLOURS, strict=False):
        images, mib = zip(*curve, strict=True)
        axes.plot([n / max(images) for n in images], mib, color=colour, label=name)
    axes.set(xlabel="Share of the images read", ylabel="Resident memory (MiB)", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def page(parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """docs/reliability.md."""
    machines = dict.fromkeys(
        f"{row['cpu']}, {row['cores']} cores" for rows in parts.values() for row in rows
    )
    texts = [
        "# Reliability",
        "Faults, bad input, and more images than memory: what was tried, how often, and how it "
        f"ended. Written by the command below, in parts on {' and on '.join(machines)}; "
        "`make test test-all` runs a sample of each row but those of Atheris.",
        code("sh", "python benchmarks/reliability.py"),
        "Refused: with one line that says what is wrong. Right: read, done or resumed as it "
        "should be. A case that is neither is a failure.",
    ]
    for part, title, more in _PARTS:
        if part in parts:
            texts += [f"## {title}", _table(parts[part]), *more]
    return "\n\n".join([*texts, *_FOUND]) + "\n"


def _table(rows: Iterable[Mapping[str, Any]]) -> str:
    return markdown_table(
        ("What", "Cases", "Right", "Refused", "Failures", "Seconds", "Measured"),
        (
            (
                row["what"],
                f"{row['cases']:,}",
                f"{row['fine']:,}",
                f"{row['noticed']:,}",
                f"{sum(row['failures'].values()):,}",
                f"{row['seconds']:,.0f}",
                ", ".join(f"{name} {number(value)}" for name, value in row["measured"].items())
                or "-",
            )
            for row in rows
        ),
    )


def number(value: float) -> str:
    """With two decimals where it is small."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"


_PARTS = (
    (
        "training",
        "Trainings",
        (
            "The last bit is that of the batches that were seen, of weights, optimiser, averages, "
            "best weights and the rows of metrics but for their times. A case of the first six "
            "rows is a signal; a training gets them and is resumed until it ends, and counts once "
            "as right if it ends as if nothing had happened. Half of the "
            "trainings save every step, half several times a second. Damaged checkpoints are "
            "noticed by their checksum, and the one before takes their place.",
        ),
    ),
    (
        "images",
        "Images",
        (
            "MiB is the largest resident memory of a process. Bombs of six formats are refused "
            "within a second; no file of the user's is changed. In the last row it is that of "
            "`maam data`; the other verbs bring PyTorch, which alone takes a gibibyte.",
        ),
    ),
    (
        "configurations",
        "Options, command lines and files of a run",
        (
            "Exit codes are 0, 1 and 2 only, and there is never a traceback. Files of a run are "
            "`meta.json`, recipes, weights and exports; most mutations are given a checksum that "
            "fits.",
        ),
    ),
    (
        "fuzzing",
        "Files of a run, ten minutes each",
        (
            "By Atheris, a fuzzer that follows the code each mutation reaches "
            "(`pip install atheris`).",
        ),
    ),
    (
        "archives",
        "Archives and downloads",
        ("Nothing is ever written outside the folder that is meant.",),
    ),
    (
        "memory",
        "More images than memory",
        (
            "`--only memory` packs generated images. Resident memory is that of the process which "
            "reads them, and grows with the index alone: 29 bytes an image and its name.",
            "![Resident memory stays level while images are read](memory.png)",
        ),
    ),
)

_FOUND = (
    "## What failed at first",
    "- Transparent, 16-bit and turned images of the largest size took 1.8 GB; now at most 0.8.\n"
    "- A training went on, however many of its images could not be read; now it stops above 1 %,\n"
    "  if that is more than ten files.\n"
    "- A zip with an empty name ended in a traceback.\n"
    "- Two processes that downloaded one file at once could disturb each other; a damaged "
    "beginning of a download was never fetched anew.\n"
    "- A damaged checkpoint ended the training; now the one before takes its place.\n"
    "- Layers that are not used ended a training by several processes in a traceback; networks "
    "with PyTorch's synchronised norms were trained, but could not be scored.\n"
    "- `--workers-per-node 1.5` was rounded; a pack without its index was no pack.\n"
    "- `--json cat.jpg` wrote over the picture; no result takes the place of an image, a table or "
    "weights any more.",
)

if __name__ == "__main__":
    main()
