"""A folder of photos, and some minutes: `maam train` beside yolo11n-cls from scratch.

    python benchmarks/folder_minutes.py signs.tar.gz --yolo ~/yolo/bin/yolo --minutes 1 2 5

Both get the same training, validation and test images and the same minutes, and take turns. Other
tools are run by their own command lines, in an environment of their own (`pip install
ultralytics`). Writes results/folder_minutes.json and docs/folder_minutes.png; docs/training.md
shows them.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maam.core.environment import environment
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.data.files.tree import scan
from maam.data.sources import folder as images

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="a folder or archive of class folders")
    parser.add_argument("--yolo", default="yolo", help="ultralytics' command (%(default)s)")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 2, 5])
    parser.add_argument("--frameworks", nargs="+", default=["mindspore", "torch"])
    given = parser.parse_args()
    if shutil.which(given.yolo) is None:
        sys.exit(f"folder_minutes: {given.yolo}: no such command: pip install ultralytics")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            split = split_folder(given.data, Path(scratch) / given.data.name.split(".")[0])
            rows = []
            for minutes in given.minutes:
                for framework in given.frameworks:
                    rows.append(run_maam(split, minutes, framework, Path(scratch)))
                    print(rows[-1], flush=True)
                rows.append(run_yolo(split, minutes, given.yolo, Path(scratch)))
                print(rows[-1], flush=True)
            counts = {each.name: sum(1 for _ in each.rglob("*.*")) for each in split.iterdir()}
    except MaamError as error:
        sys.exit(f"folder_minutes: {error}")
    report = {
        "what": "accuracy on the same test images after training for so many minutes",
        "command": f"python benchmarks/folder_minutes.py {given.data.name}",
        "data": given.data.name,
        "images": counts,
        "environment": environment(),
        "rows": rows,
    }
    write_atomic(ROOT / "results/folder_minutes.json", json.dumps(report, indent=1) + "\n")
    draw(rows, ROOT / "docs/folder_minutes.png")


def split_folder(data: Path, target: Path) -> Path:
    """train/, val/ and test/ with class folders, split as `maam train` would."""
    tree = scan(data)
    dataset = images.load(data, 32, 0.1, 0)
    contents = {file.name: content for file, content in tree.contents()}
    for name in ("train", "val", "test"):
        split = getattr(dataset, name)
        for label, file in zip(split.labels, split.names, strict=True):
            content = contents[file]
            path = target / name / dataset.classes[label] / Path(file).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    return target


def run_maam(split: Path, minutes: float, framework: str, scratch: Path) -> dict[str, Any]:
    """What `maam train` reaches."""
    out = scratch / "run"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "maam", "train", str(split), "--minutes", f"{minutes:g}"]
    seconds, _ = timed([*command, "--framework", framework, "--out", str(out)], scratch)
    meta = json.loads((out / "meta.json").read_text())
    return {
        "tool": f"maam, {framework}",
        "minutes": minutes,
        "seconds": seconds,
        "accuracy": round(100 * meta["metrics"]["accuracy"], 2),
        "model": meta["model"],
        "epochs": meta["epochs"],
    }


def run_yolo(split: Path, minutes: float, yolo: str, scratch: Path) -> dict[str, Any]:
    """What yolo11n-cls reaches from scratch at 64 pixels; its time is without its scoring."""
    shared = [f"data={split}", "imgsz=64", "device=cpu", f"project={scratch}", "exist_ok=True"]
    train = [yolo, "classify", "train", "model=yolo11n-cls.yaml", "pretrained=False", "epochs=1000"]
    seconds, _ = timed(
        [*train, *shared, f"time={minutes / 60}", "name=yolo", "plots=False"], scratch
    )
    weights = scratch / "yolo/weights/best.pt"
    _, output = timed(
        [yolo, "classify", "val", f"model={weights}", "split=test", *shared, "name=score"], scratch
    )
    found = re.search(r"^\s*all\s+([\d.]+)\s+[\d.]+", output, re.MULTILINE)
    if found is None:
        raise MaamError(f"{yolo} printed no accuracy: {output[-300:]}")
    epochs = len((scratch / "yolo/results.csv").read_text().splitlines()) - 1
    return {
        "tool": "yolo11n-cls",
        "minutes": minutes,
        "seconds": seconds,
        "accuracy": round(100 * float(found[1]), 2),
        "model": "yolo11n-cls",
        "epochs": epochs,
    }


def timed(command: Sequence[str], folder: Path) -> tuple[float, str]:
    """Seconds, and what was printed.

    Raises:
        MaamError: it failed.
    """
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MaamError(f"{' '.join(command)} failed: {(done.stderr or done.stdout)[-300:]}")
    return round(time.perf_counter() - start, 1), re.sub(r"\x1b\[[0-9;]*[mK]", "", done.stdout)


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Accuracy against seconds."""
    from matplotlib.figure import Figure

    from maam.report.plots import save_figure

    figure = Figure(figsize=(6, 3.6))
    axes = figure.add_subplot(xlabel="seconds, all told", ylabel="test accuracy (%)")
    for tool in dict.fromkeys(row["tool"] for row in rows):
        points = [(row["seconds"], row["accuracy"]) for row in rows if row["tool"] == tool]
        axes.plot(*zip(*points, strict=True), marker="o", label=tool)
    axes.legend()
    axes.grid(alpha=0.3)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
