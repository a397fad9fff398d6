"""Which format should the shards of a pack have? Ours beside `webdataset` and MindRecord.

    python benchmarks/pack_formats.py

The same generated images, smooth and noisy, are packed once and read in shuffled order on one core,
each way in a process of its own, in turns; rates are the median of the rounds. Files come from the
page cache: processors are measured, not disks. Needs `webdataset`. Writes results/pack_formats.json
and the table in docs/training.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from child import run_child
from framework_page import write as write_table
from pack_ways import BATCH, SIDE, make_images, open_way, write_mindrecord, write_pack

from maam.core.environment import environment
from maam.core.files import write_atomic
from maam.data.files.packs import open_pack
from maam.data.fingerprints import fingerprint
from maam.report.markdown import markdown_table

ROOT = Path(__file__).parents[1]
OUTPUT, PAGE = ROOT / "results" / "pack_formats.json", ROOT / "docs" / "training.md"
WAYS = {
    "pack": "`maam data pack`",
    "webdataset": "the same shards, read by `webdataset`",
    "mindrecord": "MindRecord, its own shuffle and decoder",
    "mindrecord-order": "MindRecord, a given order, decoded by Pillow",
}


def write(name: str, images: Path, out: Path) -> dict[str, Any]:
    """Write the images in a format: how long it takes, and the bytes."""
    writer = {"pack": write_pack, "mindrecord": write_mindrecord}[name]
    start = time.perf_counter()
    writer(images, out)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "bytes": sum(file.stat().st_size for file in out.iterdir())}


def read(name: str, folder: Path, known: frozenset[int]) -> dict[str, Any]:
    """Read an epoch, and one from its middle: how long it takes, and whether all is there.

    Args:
        name: of ``WAYS``.
        folder: what was written.
        known: the fingerprints of all images.
    """
    way = open_way(name, folder)
    pixels = np.empty((way.images, SIDE, SIDE, 3), np.uint8)
    start, seen = time.perf_counter(), 0
    for batch in way.read(0):
        pixels[seen : seen + len(batch)] = batch
        seen += len(batch)
    seconds = time.perf_counter() - start
    found = [fingerprint(image) for image in pixels[:seen]]
    middle, begun, first = way.images // 2, time.perf_counter(), 0
    late: list[np.ndarray] = []
    for batch in way.read(middle):
        late.append(batch)
        first += len(batch)
        if first >= BATCH:
            break
    to_first = time.perf_counter() - begun
    same = np.array_equal(np.concatenate(late), pixels[middle : middle + first])
    return {
        "seconds": seconds,
        "once": seen == len(known) == len(set(found)) and set(found) == known,
        "middle_seconds": to_first,
        "middle_same": same,
        "given": way.given,
    }


def collect(images: int, rounds: int) -> list[dict[str, Any]]:
    """A row a way: all is written once, and read in turns."""
    done: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_images(folder / "images", images)
        written = {
            name: _child("write", name, folder / "images", folder / name)
            for name in ("pack", "mindrecord")
        }
        print(written, flush=True)
        for number in range(rounds):
            for name in WAYS:
                where = folder / format_of(name)
                done[name].append(_child("read", name, where, folder / "pack"))
                print(number, name, done[name][-1], flush=True)
    return [row(name, images, written[format_of(name)], done[name]) for name in WAYS]


def format_of(way: str) -> str:
    """What a way reads."""
    return "mindrecord" if way.startswith("mindrecord") else "pack"


def row(
    name: str, images: int, written: dict[str, Any], done: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """A way's row of the results: what was written once, and the median of the readings."""
    seconds = median(each["seconds"] for each in done)
    return {
        "way": name,
        "megabytes": round(written["bytes"] / 1e6, 1),
        "write_seconds": round(written["seconds"], 2),
        "images_per_second": round(images / seconds),
        "once": all(each["once"] for each in done),
        "given_order": all(each["given"] for each in done),
        "middle_same": all(each["middle_same"] for each in done),
        "middle_share": round(median(each["middle_seconds"] for each in done) / seconds, 4),
        "rounds": [round(images / each["seconds"]) for each in done],
    }


def _child(*arguments: object) -> dict[str, Any]:
    command = [str(Path(__file__)), "--child", *map(str, arguments)]
    one = {"OMP_NUM_THREADS": "1", "MAAM_THREADS": "1"}
    return json.loads(run_child(command, one, timeout=1800).splitlines()[-1])


def run_as_child(what: str, name: str, source: Path, other: Path) -> None:
    """Write or read here, on one core, and print the result as the last line."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if what == "write":
        found = write(name, source, other)
    else:
        prints = open_pack(other).rows["fingerprint"]
        found = read(name, source, frozenset(map(int, prints)))
    print(json.dumps(found))


def table(report: dict[str, Any]) -> str:
    """The table of docs/training.md."""
    ours = report["rows"][0]
    yes = {True: "yes", False: "no"}
    rows = (
        [
            WAYS[each["way"]],
            f"{each['megabytes']:.0f}",
            f"{each['write_seconds'] / ours['write_seconds']:.2f}",
            f"{each['images_per_second'] / ours['images_per_second']:.2f}",
            _range([a / b for a, b in zip(each["rounds"], ours["rounds"], strict=True)]),
            yes[each["once"]],
            yes[each["given_order"]],
            f"{100 * each['middle_share']:.1f} %" if each["middle_same"] else "another order",
        ]
        for each in report["rows"]
    )
    header = (
        f"{report['images']:,} images of {SIDE}x{SIDE}",
        "MB",
        "time to write, x",
        "images/s read, x",
        "least and most of a round",
        "each once",
        "any order",
        "first batch from the middle, of an epoch",
    )
    return markdown_table(header, rows)


def _range(ratios: Sequence[float]) -> str:
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, name, source, other = options.child
        run_as_child(what, name, Path(source), Path(other))
        return
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    report = {
        "what": "a pack beside webdataset and MindRecord: PNG, shuffled, one core, from the page "
        "cache, in turns",
        "command": "python benchmarks/pack_formats.py",
        "environment": environment(),
        "load_before": None if load is None else round(load, 1),
        "images": options.images,
        "rows": collect(options.images, options.rounds),
    }
    write_atomic(OUTPUT, json.dumps(report, indent=1) + "\n")
    write_table("pack_formats", table(report), PAGE)


if __name__ == "__main__":
    main()
