"""Loading needs little more memory than the pixels that it gives."""

from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maam.data import load_dataset
from maam.data.files import tree
from maam.data.files.pixels import permute
from maam.data.files.tree import scan
from maam.data.preprocessing import Preprocessing
from maam.data.sources.folder import list_all, load_all

SIDE = 96


@given(st.integers(0, 30).flatmap(lambda count: st.permutations(range(count))))
def test_rows_are_permuted_in_place(order):
    rows = np.arange(2 * len(order)).reshape(-1, 2)
    wanted = rows[np.array(order, np.int64)]
    permute(rows, np.array(order, np.int64))
    assert (rows == wanted).all()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """300 images of one colour each, and a broken one in their midst."""
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(150):
            colour = (number, 255 * (label == "b"), 7)
            Image.new("RGB", (8, 8), colour).save(tmp_path / label / f"{number:03}.png")
    (tmp_path / "a" / "077x.png").write_bytes(b"no")
    return tmp_path


def peak(call) -> float:
    """Bytes that Python and NumPy hold at most during a call, for one of 300 images' pixels."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / (300 * SIDE * SIDE * 3)
    finally:
        tracemalloc.stop()


def test_the_peak_is_the_pixels(photos):
    load_dataset(str(photos), image_size=8)  # imports what is needed
    assert peak(lambda: load_dataset(str(photos), image_size=SIDE)) < 1.3
    images = load_dataset(str(photos), image_size=SIDE).train
    assert peak(lambda: Preprocessing.fit(images, "standard")) < 0.5
    assert peak(lambda: load_all(list_all(photos, ("a", "b")), (SIDE, SIDE, 3), ("a", "b"))) < 1.3


def test_every_image_keeps_its_name_and_label(photos):
    dataset = load_dataset(str(photos), image_size=8)
    assert len(dataset.all) == 300
    for split in (dataset.train, dataset.val, dataset.test):
        assert list(split.names) == sorted(split.names)
        for pixels, label, name in zip(split.pixels(), split.labels, split.names, strict=True):
            assert dataset.classes[label] == Path(name).parent.name
            assert (pixels == (int(Path(name).stem), 255 * label, 7)).all()
    every = load_all(list_all(photos, ("b", "a")), (8, 8, 3), ("b", "a"))
    for pixels, label, name in zip(
        every.images.pixels(), every.images.labels, every.images.names, strict=True
    ):
        assert (pixels == (int(Path(name).stem), 255 * (1 - label), 7)).all()
    assert [Path(name).name for name, _ in every.skipped] == ["077x.png"]


def test_few_files_of_an_archive_are_held_at_once(photos, monkeypatch):
    packed = shutil.make_archive(str(photos), "zip", photos)
    whole = [len(batch) for batch in scan(Path(packed)).batches(200)]
    assert whole == [200, 101]  # one of them is no image
    monkeypatch.setattr(tree, "HELD_BYTES", 1000)
    batches = list(scan(Path(packed)).batches(200))
    assert sum(map(len, batches)) == 301
    for batch in batches[:-1]:
        sizes = [len(bytes(content)) for _, content in batch]
        assert sum(sizes) >= 1000 > sum(sizes[:-1])
