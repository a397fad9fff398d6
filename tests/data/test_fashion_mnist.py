"""Fashion-MNIST from small IDX files; the published files where Debian's package has them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from maam.core.errors import MaamError
from maam.data.sources import fashion_mnist

DEBIAN = fashion_mnist.DEBIAN


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    """Nothing is found but what a test makes, and nothing is downloaded."""
    monkeypatch.setenv("MAAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MAAM_DATA", raising=False)
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")

    def offline(*_: object) -> Path:
        raise MaamError("offline")

    monkeypatch.setattr(fashion_mnist, "fetch", offline)
    return tmp_path / "cache"


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def make_files() -> dict[str, bytes]:
    """20 training and 10 test images; the pixel in row 3, column 5 is the image's number."""
    arrays = []
    for count in (20, 10):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 3, 5] = np.arange(count)
        arrays += [images, (np.arange(count) % 10).astype(np.uint8)]
    return {name: idx(a) for name, a in zip(fashion_mnist.FILES, arrays, strict=True)}


def write(folder: Path, files: dict[str, bytes], zipped: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / (f"{name}.gz" if zipped else name)
        path.write_bytes(gzip.compress(content) if zipped else content)
    return folder


@pytest.mark.parametrize("zipped", [True, False])
def test_images_labels_and_classes(tmp_path, zipped):
    write(tmp_path, make_files(), zipped)
    data = fashion_mnist.load(tmp_path, 0.0, 0)
    assert data.name == "fashion-mnist" and data.augment == "crop-flip"
    assert data.classes[9] == "Ankle boot" and len(data.classes) == 10
    assert data.train.pixels().shape == (20, 28, 28, 1) and data.train.pixels().dtype == np.uint8
    assert data.train.pixels()[:, 3, 5, 0].tolist() == list(range(20))
    assert data.train.labels.tolist() == [*range(10), *range(10)]
    assert data.train.labels.dtype == np.int32
    assert data.test.names == tuple(f"test/{i}" for i in range(10))
    assert "not its published labels" in data.source and str(tmp_path) in data.source


def test_validation_images_are_stratified(tmp_path):
    data = fashion_mnist.load(write(tmp_path, make_files()), 0.5, 0)
    assert np.bincount(data.val.labels).tolist() == [1] * 10
    assert not set(data.val.names) & set(data.train.names)


def test_places_are_looked_at_in_order(tmp_path, cache, monkeypatch):
    with pytest.raises(MaamError, match="offline"):
        fashion_mnist.load(None, 0.0, 0)
    order = [tmp_path / "data_dir", tmp_path / "env", cache, tmp_path / "debian"]
    for place in order:
        place.mkdir()
    monkeypatch.setenv("MAAM_DATA", str(order[1]))
    for place in reversed(order):
        folder = write(place / "fashion-mnist", make_files())
        assert str(folder) in fashion_mnist.load(order[0], 0.0, 0).source


def test_missing_files_are_downloaded_and_kept(tmp_path, cache, monkeypatch):
    asked = []

    def fetch(url, destination, checksum, places, progress):
        asked.append((url, checksum))
        name = destination.name.removesuffix(".gz")
        write(destination.parent, {name: make_files()[name]})
        return destination

    monkeypatch.setattr(fashion_mnist, "fetch", fetch)
    first = next(iter(make_files()))
    write(cache / "fashion-mnist", {first: make_files()[first]})  # from a run that was stopped
    for _ in range(2):
        assert len(fashion_mnist.load(None, 0.0, 0).test) == 10
    assert len(asked) == 3
    assert asked[0] == (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
        "md5:25c81989df183df01b3e8a0aad5dffbe",
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", b"", "not an IDX file"),
        ("train-images-idx3-ubyte", b"\0\0\x08\x03\0\0", "6 bytes, expected 16"),
        ("train-images-idx3-ubyte", b"\0\0\x0d\x03" + bytes(12), "not an IDX file"),
        ("t10k-labels-idx1-ubyte", idx(np.zeros(10, np.uint8)) + b"x", "19 bytes, expected 18"),
        ("t10k-images-idx3-ubyte", b"\0\0\x08\x03" + b"\xff" * 12, "expected 79,228"),
        ("train-labels-idx1-ubyte", idx(np.zeros(19, np.uint8)), "do not fit together"),
        ("train-images-idx3-ubyte", idx(np.zeros((20, 28, 27), np.uint8)), "do not fit together"),
        ("train-images-idx3-ubyte", idx(np.zeros(20, np.uint8)), "do not fit together"),
        ("t10k-labels-idx1-ubyte", idx(np.full(10, 10, np.uint8)), "label 10, expected 0 to 9"),
    ],
)
def test_wrong_files_are_named(tmp_path, name, content, message):
    write(tmp_path, {**make_files(), name: content})
    with pytest.raises(MaamError, match=message) as caught:
        fashion_mnist.load(tmp_path, 0.0, 0)
    assert str(tmp_path / name[:5]) in str(caught.value)


def test_a_truncated_or_foreign_gz_is_named(tmp_path):
    write(tmp_path, make_files())
    path = tmp_path / "train-images-idx3-ubyte.gz"
    for content in (path.read_bytes()[:-5], b"<html>not found</html>"):
        path.write_bytes(content)
        with pytest.raises(MaamError, match=r"train-images-idx3-ubyte\.gz: damaged or cut short"):
            fashion_mnist.load(tmp_path, 0.0, 0)


@pytest.mark.skipif(
    not (DEBIAN / fashion_mnist.SUBFOLDER).is_dir(), reason="needs Debian's dataset-fashion-mnist"
)
def test_the_published_files(monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN", DEBIAN)
    data = fashion_mnist.load(None, 0.1, 0)
    assert data.source == "Fashion-MNIST"
    assert (len(data.train), len(data.val), len(data.test)) == (54_000, 6_000, 10_000)
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
