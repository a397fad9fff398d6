"""Ray Data against `maam predict`, on a folder of 20,000 images: the same answers, and how soon.

    pip install '.[ray]'
    python benchmarks/predict_ray.py

Runs examples/predict_ray.py and `maam predict` on small images, of which some cannot be read.
Count, order, unreadable files and every answer are compared; a difference fails (1). Writes
results/predict_ray.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from maam.core.environment import environment, usable_cores
from maam.core.files import write_atomic

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "predict_ray.json"
DISTINCT, FOLDERS, MODEL = 400, 10, "maamnet-tiny"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000, help="all files (%(default)s)")
    parser.add_argument("--unreadable", type=int, default=100, help="of them (%(default)s)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        report = compare(Path(scratch), given.images, given.unreadable)
    report |= {"environment": environment() | {"ray": version("ray")}}
    write_atomic(RESULTS, json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


def compare(scratch: Path, images: int, unreadable: int) -> dict[str, Any]:
    """What is measured, as results/predict_ray.json holds it; ends the process on a difference."""
    folder = scratch / "images"
    files, broken = make_images(folder, images, unreadable)
    ray, alone = scratch / "ray.csv", scratch / "maam.csv"
    example = str(ROOT / "examples" / "predict_ray.py")
    seconds = {
        "maam predict": timed(
            ["-m", "maam", "predict", MODEL, str(folder), "--format", "csv", "--output", str(alone)]
        ),
        "ray": timed([example, MODEL, str(folder), str(ray)]),
    }
    rows = answers(ray)
    wrong = {
        "count": len(rows) != images,
        "order": list(rows) != sorted(files),
        "unreadable": {file for file, row in rows.items() if row[0]["error"]} != broken,
        "answers": ray.read_text() != alone.read_text(),
    }
    if any(wrong.values()):
        sys.exit(f"predict_ray: Ray and `maam predict` differ: {wrong}")
    return {
        "what": "examples/predict_ray.py and `maam predict`: a process each, starts included",
        "command": "python benchmarks/predict_ray.py",
        "model": MODEL,
        "images": images,
        "distinct": DISTINCT,
        "unreadable": unreadable,
        "same": list(wrong),
        "usable_cores": usable_cores(),
        "seconds": {name: round(each, 1) for name, each in seconds.items()},
        "images_per_second": {name: round(images / each) for name, each in seconds.items()},
    }


def make_images(folder: Path, count: int, unreadable: int) -> tuple[list[str], set[str]]:
    """PNG files of noise, links to a few hundred distinct ones; all names, and the unreadable."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    files: list[str] = []
    whole: list[Path] = []
    broken: set[str] = set()
    for number in range(FOLDERS):
        (folder / str(number)).mkdir()
    for number in range(count):
        file = folder / str(number % FOLDERS) / f"{number:06}.png"
        if number * unreadable // count < (number + 1) * unreadable // count:  # spread evenly
            file.write_bytes(b"no image")
            broken.add(str(file))
        elif number < DISTINCT:
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(file)
            whole.append(file)
        else:
            os.link(whole[number % len(whole)], file)
        files.append(str(file))
    return files, broken


def timed(arguments: list[str]) -> float:
    """Seconds of a Python process, from its start to its end."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode not in (0, 1) or "Traceback" in done.stderr:  # 1: some are unreadable
        sys.exit(f"predict_ray: {arguments[0]} failed: {done.stderr[-2000:]}")
    return time.perf_counter() - began


def answers(path: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of each file, in the order of the CSV."""
    found: dict[str, list[dict[str, str]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["file"], []).append(row)
    return found


if __name__ == "__main__":
    main()
