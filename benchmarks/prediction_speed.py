"""How soon `maam predict` answers, how fast it goes through folders, and how much memory it takes.

    python benchmarks/prediction_speed.py --python PYTHON

PYTHON has maam installed without extras (`pip install .`). Photos are made of noise that is smooth,
4,000 x 3,000 pixels, JPEG. "One by one" decodes them in full, without threads. Writes
results/prediction_speed.json and docs/prediction-speed.md. Close other programs first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from maam.core.environment import environment
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.deploy.latency import in_turns, peak_mib
from maam.deploy.prediction import predict
from maam.report.markdown import markdown_table

ROOT = Path(__file__).parents[1]
PHOTO = (3000, 4000)
WAYS = ("one by one", "maam predict")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="with maam alone (%(default)s)")
    parser.add_argument("--photos", type=int, default=64, help="large ones (%(default)s)")
    parser.add_argument("--files", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT, help="has results/ and docs/")
    given = parser.parse_args()
    try:
        report = collect(given.python, given.photos, given.files, given.rounds)
    except MaamError as error:
        sys.exit(f"prediction_speed: {error}")
    for folder in ("results", "docs"):
        (given.out / folder).mkdir(parents=True, exist_ok=True)
    write_atomic(given.out / "results/prediction_speed.json", json.dumps(report, indent=1) + "\n")
    write_atomic(given.out / "docs/prediction-speed.md", page(report))


def collect(python: str, photos: int, files: Sequence[int], rounds: int) -> dict[str, Any]:
    """What is measured, as results/prediction_speed.json holds it."""
    with tempfile.TemporaryDirectory() as scratch:
        large = make_photos(Path(scratch) / "large", photos)
        small = Path(scratch) / "small.png"
        Image.open(large / "0.jpg").resize((64, 48)).save(small)
        return {
            "what": "cold start, images a second and peak memory of `maam predict`",
            "command": "python benchmarks/prediction_speed.py --python PYTHON",
            "environment": environment(),
            "rounds": rounds,
            "cold_start": cold_start(python, small, Path(scratch), rounds),
            "photos": photos,
            "images_per_second": large_photos(large, rounds),
            "folders": [many_files(small, number, Path(scratch)) for number in files],
        }


def make_photos(folder: Path, count: int) -> Path:
    """``count`` JPEG files of ``PHOTO``, the same one under several names."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8))
    height, width = PHOTO
    noise.resize((width, height), Image.Resampling.BICUBIC).save(folder / "0.jpg", quality=90)
    for number in range(1, count):
        os.link(folder / "0.jpg", folder / f"{number}.jpg")
    return folder


def cold_start(python: str, image: Path, folder: Path, rounds: int) -> dict[str, float]:
    """Median seconds of a new process, in turns."""
    commands = {
        "maam predict": [python, "-m", "maam", "predict", str(image)],
        "python -c pass": [python, "-c", "pass"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds + 1):  # the first fills the caches of files
        for name, command in commands.items():
            start = time.perf_counter()
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise MaamError(f"{' '.join(command)} failed: {done.stderr[-300:]}")
            seconds[name].append(time.perf_counter() - start)
    return {name: round(median(each[1:]), 3) for name, each in seconds.items()}


def large_photos(folder: Path, rounds: int) -> dict[str, float]:
    """Median images a second, in turns, each time in a new process."""
    works = {way: Photos(way, folder) for way in WAYS}
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for way, outcome in in_turns(works, rounds):
        found[way].append(outcome.result())
    return {way: round(median(each), 1) for way, each in found.items()}


class Photos:
    """Classifies a folder; images a second."""

    def __init__(self, way: str, folder: Path) -> None:
        self.way, self.folder = way, folder

    def __call__(self, number: int) -> float:
        files = sorted(self.folder.iterdir())
        start = time.perf_counter()
        if self.way == WAYS[0]:
            loaded = (Image.open(file).convert("RGB") for file in files)
            answers = list(predict("maamnet-tiny", loaded, batch_size=1))
        else:
            answers = list(predict("maamnet-tiny", [self.folder]))
        if len(answers) != len(files):
            raise MaamError(f"{len(answers)} answers for {len(files)} photos")
        return len(files) / (time.perf_counter() - start)


def many_files(image: Path, count: int, scratch: Path) -> dict[str, float]:
    """Seconds and peak memory of a folder of ``count`` small images, in a new process."""
    folder = scratch / str(count)
    folder.mkdir()
    for number in range(count):
        if number % 50_000 == 0:  # a file has a limited number of links
            source = folder / f"{number}.png"
            source.write_bytes(image.read_bytes())
        else:
            os.link(source, folder / f"{number}.png")
    ((_, outcome),) = in_turns({count: Files(folder)}, 1)
    seconds, mib = outcome.result()
    return {"files": count, "seconds": round(seconds, 2), "peak_mib": round(mib, 1)}


class Files:
    """Classifies a folder; seconds and peak memory of this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, number: int) -> tuple[float, float]:
        start = time.perf_counter()
        for answer in predict("maamnet-tiny", [self.folder]):
            if answer.error:
                raise MaamError(f"{answer.file}: {answer.error}")
        return time.perf_counter() - start, peak_mib()


def page(report: dict[str, Any]) -> str:
    """docs/prediction-speed.md."""
    cold, speeds = report["cold_start"], report["images_per_second"]
    facts = report["environment"]
    height, width = PHOTO
    lines = (
        (
            f"{row['files']:,}",
            f"{row['seconds']:.1f}",
            f"{row['files'] / row['seconds']:,.0f}",
            f"{row['peak_mib']:.0f}",
        )
        for row in report["folders"]
    )
    return (
        "\n\n".join(
            [
                "# Speed of `maam predict`",
                f"Written by `{report['command']}`, from results/prediction_speed.json, on "
                f"{facts['cpu']}, {facts['cores']} cores, with `maamnet-tiny`.",
                "## One image",
                f"`maam predict photo.png` takes {cold['maam predict']:.2f} s from the command to "
                f"the answer, `python -c pass` {cold['python -c pass']:.2f} s: medians of "
                f"{report['rounds']} new processes each, in turns; maam is installed without "
                "extras.",
                "## Large photos",
                f"{report['photos']} JPEG photos of {width:,} x {height:,} pixels: "
                f"{speeds[WAYS[1]]:.1f} images/s; decoded in full, one by one, "
                f"{speeds[WAYS[0]]:.1f}. That is "
                f"{speeds[WAYS[1]] / speeds[WAYS[0]]:.1f} times as many. JPEG files are decoded at "
                "a half, a quarter or an eighth of their sides, not below twice the sides that the "
                "network takes, and in a thread a core. Medians of "
                f"{report['rounds']} rounds, in turns.",
                "## Many files",
                "PNG files of 64 x 48 pixels in one folder:",
                markdown_table(("Files", "Seconds", "Images/s", "Peak memory (MiB)"), lines),
            ]
        )
        + "\n"
    )


if __name__ == "__main__":
    import prediction_speed  # a new process finds its functions by this name

    prediction_speed.main()
