"""Folders of photos, and some minutes: `maam train` beside yolo11n-cls from scratch.

    python benchmarks/folder_minutes.py signs.tar.gz --yolo ~/yolo/bin/yolo --minutes 1 2 5
    python benchmarks/folder_minutes.py waste scans --yolo ~/yolo/bin/yolo --minutes 2
    python benchmarks/folder_minutes.py signs.tar.gz --yolo ~/yolo/bin/yolo --minutes 2 --size 96
    python benchmarks/folder_minutes.py signs.tar.gz ... --minutes 2 --models auto mobilenetv2-x0.5

Both get the same training, validation and test images and the same minutes, and take turns. Other
tools are run by their own command lines, in an environment of their own (`pip install
ultralytics`). Rows are added to results/folder_minutes.json, those of the same folder and
minutes replaced; docs/folder-minutes.md and its picture are made from all of them.
"""

from __future__ import annotations

import argparse
import csv
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

from maam.core import frameworks
from maam.core.environment import environment
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.data.files.tree import scan
from maam.data.sources import folder as images
from maam.report.markdown import markdown_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results/folder_minutes.json"
CHOSEN = 64  # pixels a side that maam chooses for photos
SOURCES = """\
- sign-digits: hand signs for the digits, ten classes (ardamavi/Sign-Language-Digits-Dataset). The
  rules of the plan were tried on it; the same hands are in all splits.
- waste: photos of cardboard, glass, metal, paper and plastic (garythung/trashnet, its "trash" left
  out).
- brain-scans: four classes (SartajBhuvaji/Brain-Tumor-Classification-DataSet, a part of its
  training images).

Nothing was tried or chosen on waste and brain scans: they were measured once."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, nargs="*", help="folders or archives of class folders")
    parser.add_argument("--yolo", default="yolo", help="ultralytics' command (%(default)s)")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 2, 5])
    parser.add_argument("--size", type=int, default=64, help="pixels a side (%(default)s)")
    parser.add_argument("--frameworks", nargs="+", default=["mindspore", "torch"])
    parser.add_argument("--models", nargs="+", default=["auto"], help="of maam; auto: it chooses")
    given = parser.parse_args()
    if given.data and shutil.which(given.yolo) is None:
        sys.exit(f"folder_minutes: {given.yolo}: no such command: pip install ultralytics")
    for data in given.data:
        try:
            with tempfile.TemporaryDirectory() as scratch:
                name = data.name.split(".")[0]
                split = split_folder(data, Path(scratch) / name)
                counts = {each.name: len(list(each.rglob("*.*"))) for each in split.iterdir()}
                for minutes in given.minutes:
                    runs = [
                        *(
                            run_maam(split, minutes, given.size, each, model, Path(scratch))
                            for each in given.frameworks
                            for model in given.models
                        ),
                        run_yolo(split, minutes, given.size, given.yolo, Path(scratch)),
                    ]
                    for row in runs:
                        told = {"data": name, "images": counts, "size": given.size}
                        keep({**told, "minutes": minutes, **row})
        except MaamError as error:
            sys.exit(f"folder_minutes: {error}")
    report = json.loads(RESULTS.read_text())
    write_atomic(ROOT / "docs/folder-minutes.md", page(report))
    draw(report["rows"], ROOT / "docs/folder-minutes.png")


def keep(row: dict[str, Any]) -> None:
    """Add a row to the results."""
    print(row, flush=True)
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    same = ("data", "size", "minutes", "tool")
    rows = [each for each in rows if any(each[key] != row[key] for key in same)]
    report = {
        "what": "accuracy on the same test images after training for so many minutes",
        "environment": environment(),
        "rows": sorted([*rows, row], key=lambda each: tuple(each[key] for key in same)),
    }
    write_atomic(RESULTS, json.dumps(report, indent=1) + "\n")


def split_folder(data: Path, target: Path) -> Path:
    """train/, val/ and test/ with class folders, split as `maam train` would."""
    tree = scan(data)
    dataset = images.load(data, 32, 0.1, 0)
    contents = {file.name: content for file, content in tree.contents()}
    for name in ("train", "val", "test"):
        split = getattr(dataset, name)
        for label, file in zip(split.labels, split.names, strict=True):
            content = contents[file]
            path = target / name / dataset.classes[label] / file.lstrip("/").replace("/", "-")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    return target


def run_maam(
    split: Path, minutes: float, size: int, framework: str, model: str, scratch: Path
) -> dict[str, Any]:
    """What `maam train` reaches; 64 pixels is what it chooses itself for photos."""
    out = scratch / "run"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "maam", "train", str(split), "--minutes", f"{minutes:g}"]
    command += ["--framework", framework, "--out", str(out)]
    command += ["--image-size", str(size)] * (size != CHOSEN)
    command += ["--model", model] * (model != "auto")
    seconds, _ = timed(command, scratch)
    meta = json.loads((out / "meta.json").read_text())
    rows = (out / "metrics.jsonl").read_text().splitlines()
    training = sum(json.loads(row)["seconds"] for row in rows)
    fixed = "" if model == "auto" else f" --model {model}"
    return {
        "tool": f"maam, {frameworks.NAMES[framework]}{fixed}",
        "images_per_second": rate(split, meta["epochs"], training),
        "seconds": seconds,
        "accuracy": round(100 * meta["metrics"]["accuracy"], 2),
        "model": meta["model"],
        "epochs": meta["epochs"],
    }


def run_yolo(split: Path, minutes: float, size: int, yolo: str, scratch: Path) -> dict[str, Any]:
    """What yolo11n-cls reaches from scratch; its time is without its scoring."""
    shared = [f"data={split}", f"imgsz={size}", "device=cpu", f"project={scratch}", "exist_ok=True"]
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
    epochs = list(csv.DictReader((scratch / "yolo/results.csv").read_text().splitlines()))
    training = float({key.strip(): value for key, value in epochs[-1].items()}["time"])
    return {
        "tool": "yolo11n-cls",
        "images_per_second": rate(split, len(epochs), training),
        "seconds": seconds,
        "accuracy": round(100 * float(found[1]), 2),
        "model": "yolo11n-cls",
        "epochs": len(epochs),
    }


def rate(split: Path, epochs: int, seconds: float) -> float:
    """Training images a second."""
    return round(epochs * len(list((split / "train").rglob("*.*"))) / seconds, 1)


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


def page(report: dict[str, Any]) -> str:
    """docs/folder-minutes.md."""
    rows = report["rows"]
    lines = (
        (
            f"{row['data']}, {sum(row['images'].values()):,} files",
            str(row["size"]),
            f"{row['minutes']:g}",
            row["tool"],
            row["model"],
            str(row["epochs"]),
            f"{row['seconds']:.0f}",
            f"{row['images_per_second']:.0f}" if "images_per_second" in row else "",
            f"{row['accuracy']:.2f}",
        )
        for row in rows
    )
    header = ("Images", "Pixels", "Minutes", "Tool", "Model", "Epochs", "Seconds", "Images/s")
    header += ("Accuracy %",)
    return (
        "\n\n".join(
            [
                "# A folder of photos, and some minutes",
                "Written by `python benchmarks/folder_minutes.py`, from "
                "results/folder_minutes.json: `maam train FOLDER --minutes M` beside ultralytics' "
                "`yolo classify train model=yolo11n-cls.yaml pretrained=False imgsz=PIXELS "
                "time=M/60`, in turns, on the same split, on "
                f"{report['environment']['cpu']}, {report['environment']['cores']} cores. One "
                "seed, test images. Seconds are all told: maam's end with scores, report and "
                "ONNX, yolo's without its scoring. yolo computes with one thread fewer than there "
                "are cores, as it chooses itself. Images/s are those of training alone; yolo's "
                "contain the validation after each epoch, which it does not time apart. yolo's "
                "accuracy varies: the same 2 minutes at 64 pixels gave 86.70 % in an earlier run. "
                "mobilenetv2-x0.5 is the form for CIFAR, whose maps stay large.",
                SOURCES,
                markdown_table(header, lines),
                "![Accuracy against seconds](folder-minutes.png)",
            ]
        )
        + "\n"
    )


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Accuracy against seconds, a panel a folder."""
    from matplotlib.figure import Figure

    from maam.report.plots import COLOURS, save_figure

    rows = [row for row in rows if row["size"] == CHOSEN]
    folders = list(dict.fromkeys(row["data"] for row in rows))
    tools = sorted({row["tool"] for row in rows})
    drawn: dict[str, Any] = {}
    figure = Figure(figsize=(4 * len(folders), 3.8), layout="constrained")
    for number, folder in enumerate(folders, 1):
        axes = figure.add_subplot(1, len(folders), number, title=folder, xlabel="seconds")
        for place, tool in enumerate(tools):
            points = [
                (row["seconds"], row["accuracy"])
                for row in rows
                if (row["tool"], row["data"]) == (tool, folder)
            ]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", label=tool, color=COLOURS[place])
        axes.set_ylim(0, 102)
        axes.set_xlim(0, 1.05 * max(row["seconds"] for row in rows))
        axes.grid(alpha=0.3)
        if number == 1:
            axes.set_ylabel("test accuracy (%)")
        drawn |= dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(list(drawn.values()), list(drawn), loc="outside lower center", ncols=len(drawn))
    save_figure(figure, path)


if __name__ == "__main__":
    main()
