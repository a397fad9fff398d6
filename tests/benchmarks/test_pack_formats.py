"""Packs beside other formats: each way reads all images, and the table is that of the results."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest
from pack_formats import read, row, table, write
from pack_ways import CLASSES, make_images

from maam.data.files.packs import open_pack

ROOT = Path(__file__).parents[2]


def test_the_table_is_that_of_the_results():
    report = json.loads((ROOT / "results" / "pack_formats.json").read_text())
    assert all(each["once"] for each in report["rows"])
    assert table(report) in (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    make_images(folder / "images", 3 * CLASSES)
    return folder


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves them open
@pytest.mark.parametrize("way", ["pack", "webdataset"])
def test_a_way_reads_every_image_once_and_begins_in_the_middle(way, folder):
    if way == "webdataset":
        pytest.importorskip("webdataset")
    if not (folder / "packed").exists():
        assert write("pack", folder / "images", folder / "packed")["bytes"] > 0
    known = frozenset(map(int, open_pack(folder / "packed").rows["fingerprint"]))
    assert len(known) == 3 * CLASSES
    found = read(way, folder / "packed", known)
    assert found["once"] and found["middle_same"]
    assert not read(way, folder / "packed", known | {1})["once"]
    gc.collect()


@pytest.mark.slow
def test_mindrecord_reads_every_image_once_in_either_order(folder):
    write("pack", folder / "images", folder / "pack-too")
    write("mindrecord", folder / "images", folder / "mindrecord")
    known = frozenset(map(int, open_pack(folder / "pack-too").rows["fingerprint"]))
    for way in ("mindrecord", "mindrecord-order"):
        found = read(way, folder / "mindrecord", known)
        assert found["once"] and found["middle_same"]


def test_a_row_has_the_medians_of_its_rounds():
    once = {"once": True, "given": True, "middle_same": True, "middle_seconds": 1.0}
    done = [{**once, "seconds": seconds} for seconds in (2.0, 4.0, 100.0)]
    written = {"seconds": 3.0, "bytes": 2_000_000}
    found = row("pack", 40, written, [*done[:2], {**done[2], "once": False}])
    assert found["images_per_second"] == 10 and found["megabytes"] == 2
    assert found["middle_share"] == 0.25 and not found["once"]
