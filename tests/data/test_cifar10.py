"""CIFAR-10 from small archives in its two formats; the real JPEG archive where MAAM_DATA has it."""

from __future__ import annotations

import io
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maam.core.errors import MaamError
from maam.data.sources import cifar10

REAL = Path(os.environ.get("MAAM_DATA", "")) / "cifar10-jpeg.tar.gz"
PER_BATCH = 20


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    """Nothing is found but what a test makes, and nothing is downloaded."""
    monkeypatch.setenv("MAAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MAAM_DATA", raising=False)
    monkeypatch.setattr(cifar10, "PER_CLASS", {"train": 2, "test": 1})

    def offline(*_: object) -> Path:
        raise MaamError("offline")

    monkeypatch.setattr(cifar10, "fetch", offline)
    return tmp_path / "cache"


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def binary_files() -> tuple[dict[str, bytes], np.ndarray]:
    """Six batches with random pixels and labels 0..9 in turn, and their records (6, N, 3073)."""
    records = np.random.default_rng(0).integers(0, 256, (6, PER_BATCH, 3073), dtype=np.uint8)
    records[:, :, 0] = np.arange(PER_BATCH) % 10
    names = [name for batch in cifar10.BATCHES.values() for name in batch]
    files = {
        f"cifar-10-batches-bin/{name}": batch.tobytes()
        for name, batch in zip(names, records, strict=True)
    }
    return {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n", **files}, records


def jpeg_files() -> dict[str, bytes]:
    """Every image is one grey, ten times its class and one more for every image before it."""
    files = {}
    for split, count in cifar10.PER_CLASS.items():
        for label, name in enumerate(cifar10.CLASSES):
            for index in range(count):
                buffer = io.BytesIO()
                grey = (10 * label + index,) * 3
                Image.new("RGB", (32, 32), grey).save(buffer, "JPEG", quality=100)
                files[f"{split}/{name}/{index:04d}.jpg"] = buffer.getvalue()
    return files


def unpack(files: dict[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_binary_records_become_images(tmp_path):
    files, records = binary_files()
    write_archive(tmp_path / cifar10.ARCHIVE, files)
    data = cifar10.load(tmp_path, 0.0, 0)
    assert data.source == "CIFAR-10 (original binary), 100 + 20 images only"
    assert data.name == "cifar10" and data.augment == "crop-flip"
    assert data.classes[3] == "cat" and len(data.classes) == 10
    assert data.train.pixels().shape == (100, 32, 32, 3) and data.train.pixels().dtype == np.uint8
    assert data.train.labels.dtype == np.int32
    assert len(data.train.names) == len(data.train) == 100 and len(data.val) == 0
    record = records[1, 7]  # the eighth image of the second batch
    row, column = 5, 9
    pixel = data.train.pixels()[PER_BATCH + 7, row, column]
    assert pixel.tolist() == [record[1 + c * 1024 + row * 32 + column] for c in range(3)]
    assert data.train.labels[PER_BATCH + 7] == record[0]
    assert (data.test.labels == records[5, :, 0]).all()


def test_validation_images_are_stratified_and_follow_the_seed(tmp_path):
    write_archive(tmp_path / cifar10.ARCHIVE, binary_files()[0])
    one, same, other = (cifar10.load(tmp_path, 0.2, seed) for seed in (1, 1, 2))
    assert np.bincount(one.val.labels).tolist() == [2] * 10
    assert one.val.names == same.val.names != other.val.names
    assert not set(one.val.names) & set(one.train.names)
    assert one.test.names == other.test.names


def test_every_place_and_layout_is_found(tmp_path, cache, monkeypatch):
    files, _ = binary_files()
    archive = write_archive(tmp_path / "a" / "renamed.tgz", files)
    unpacked = unpack(files, tmp_path / "b")
    tree = unpack(jpeg_files(), tmp_path / "c")
    for data_dir in (archive, unpacked, unpacked / "cifar-10-batches-bin"):
        assert "binary" in cifar10.load(data_dir, 0.0, 0).source
    assert cifar10.load(tree, 0.0, 0).source == "CIFAR-10 (JPEG copy)"
    with pytest.raises(MaamError, match="offline"):
        cifar10.load(None, 0.0, 0)
    write_archive(cache / cifar10.ARCHIVE, files)
    assert "binary" in cifar10.load(None, 0.0, 0).source
    monkeypatch.setenv("MAAM_DATA", str(tree))
    assert "JPEG" in cifar10.load(None, 0.0, 0).source  # MAAM_DATA comes before the cache
    assert "binary" in cifar10.load(unpacked, 0.0, 0).source  # and data_dir before MAAM_DATA


def test_a_missing_data_dir_is_named(tmp_path):
    with pytest.raises(MaamError, match=r"`data_dir=.*absent`: no such file"):
        cifar10.load(tmp_path / "absent", 0.0, 0)


def test_without_a_copy_the_official_archive_is_downloaded(tmp_path, cache, monkeypatch):
    asked = []

    def fetch(url, destination, checksum, places, progress):
        asked.append((url, checksum, progress))
        return write_archive(destination, binary_files()[0])

    monkeypatch.setattr(cifar10, "fetch", fetch)
    for _ in range(2):
        assert len(cifar10.load(None, 0.0, 0, print).train) == 100
    assert (cache / "cifar-10-binary.tar.gz").is_file()
    assert asked == [
        (
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "md5:c32a1d4ab5d03f1284b67883e8d87530",
            print,
        )
    ]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda files: files.pop("cifar-10-batches-bin/data_batch_4.bin"), "data_batch_4.bin is"),
        (
            lambda files: files.update({"cifar-10-batches-bin/test_batch.bin": bytes(3072)}),
            r"test_batch.bin is missing, empty or cut short \(3,072 bytes",
        ),
        (
            lambda files: files.update({"cifar-10-batches-bin/data_batch_1.bin": b"\x0a" * 3073}),
            "data_batch_1.bin has a label above 9",
        ),
    ],
)
def test_damaged_batches_are_named(tmp_path, damage, message):
    files, _ = binary_files()
    damage(files)
    archive = write_archive(tmp_path / cifar10.ARCHIVE, files)
    for path in (archive, unpack(files, tmp_path / "unpacked")):
        with pytest.raises(MaamError, match=message) as caught:
            cifar10.load(path, 0.0, 0)
        assert str(path) in str(caught.value)


def test_a_truncated_archive_is_named(tmp_path):
    for files in (binary_files()[0], jpeg_files()):
        archive = write_archive(tmp_path / "cifar.tar.gz", files)
        archive.write_bytes(archive.read_bytes()[:-1000])
        with pytest.raises(MaamError, match=f"^{re.escape(str(archive))}: .*cut short"):
            cifar10.load(archive, 0.0, 0)


def test_jpeg_images_classes_and_names(tmp_path):
    write_archive(tmp_path / "cifar10-jpeg.tar.gz", jpeg_files())
    data = cifar10.load(tmp_path, 0.0, 0)
    assert data.source == "CIFAR-10 (JPEG copy)"
    assert data.train.pixels().shape == (20, 32, 32, 3) and data.test.pixels().shape[0] == 10
    for image, label, name in zip(
        data.train.pixels(), data.train.labels, data.train.names, strict=True
    ):
        split, class_name, file = name.split("/")
        assert split == "train" and cifar10.CLASSES[label] == class_name
        assert abs(int(image.mean()) - (10 * label + int(file[:4]))) <= 1


def test_jpeg_archive_is_decoded_once_and_a_damaged_cache_is_rebuilt(tmp_path, cache, monkeypatch):
    archive = write_archive(tmp_path / "cifar10-jpeg.tar.gz", jpeg_files())
    first = cifar10.load(archive, 0.5, 0)
    (cached,) = cache.iterdir()
    whole = cached.read_bytes()
    for content in (b"", b"other", whole[:-10], whole.replace(b"train_labels", b"train_lasers")):
        cached.write_bytes(content)
        assert (cifar10.load(archive, 0.5, 0).val.pixels() == first.val.pixels()).all()
        assert cached.stat().st_size == len(whole)
        assert list(cache.iterdir()) == [cached]
    monkeypatch.setattr(cifar10, "_decode", None)  # now only the cache can answer
    again = cifar10.load(archive, 0.5, 0)
    assert (again.train.pixels() == first.train.pixels()).all()
    assert (again.train.labels == first.train.labels).all()
    assert again.train.names == first.train.names and again.source == first.source
    write_archive(archive, dict(reversed(jpeg_files().items())))
    with pytest.raises(TypeError):  # another archive: the cache must not answer
        cifar10.load(archive, 0.5, 0)


def test_a_cache_folder_that_cannot_be_written_is_done_without(tmp_path, cache):
    archive = write_archive(tmp_path / "cifar10-jpeg.tar.gz", jpeg_files())
    cache.write_text("a file in the way")
    assert len(cifar10.load(archive, 0.0, 0).train) == 20


def damaged(files: dict[str, bytes], name: str, content: bytes | None) -> dict[str, bytes]:
    return {key: value for key, value in {**files, name: content}.items() if value is not None}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train/frog/0001.jpg", None, "1 images in train/frog, expected 2"),
        ("test/truck/0001.jpg", b"one too many", "2 images in test/truck, expected 1"),
        ("test/cat/0000.jpg", b"not a jpeg", "test/cat/0000.jpg is damaged"),
    ],
)
def test_incomplete_or_damaged_jpegs_are_named(tmp_path, cache, name, content, message):
    path = write_archive(tmp_path / "jpeg.tar.gz", damaged(jpeg_files(), name, content))
    with pytest.raises(MaamError, match=f"^{re.escape(str(path))}: {message}"):
        cifar10.load(path, 0.0, 0)
    assert not cache.exists()


def test_a_jpeg_of_another_size_or_cut_short_is_named(tmp_path):
    files = jpeg_files()
    buffer = io.BytesIO()
    Image.new("RGB", (31, 32)).save(buffer, "JPEG")
    name = "train/ship/0000.jpg"
    for content, message in ((buffer.getvalue(), "not 32 x 32"), (files[name][:-40], "damaged")):
        path = write_archive(tmp_path / "jpeg.tar.gz", {**files, name: content})
        with pytest.raises(MaamError, match=f"{name} is {message}"):
            cifar10.load(path, 0.0, 0)


def test_other_files_are_not_taken_for_cifar10(tmp_path):
    path = write_archive(tmp_path / "other.tar.gz", {"train/cat/tabby.jpg": b"x", "notes": b"x"})
    with pytest.raises(MaamError, match="neither CIFAR-10's binary version"):
        cifar10.load(path, 0.0, 0)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(MaamError, match=r"notes\.txt: not a readable archive"):
        cifar10.load(tmp_path / "notes.txt", 0.0, 0)


@pytest.mark.skipif(not REAL.is_file(), reason="MAAM_DATA has no cifar10-jpeg.tar.gz")
def test_the_real_jpeg_archive(monkeypatch):
    monkeypatch.undo()  # with the cache folder that training uses, to decode it only once
    data = cifar10.load(REAL, 0.1, 0)
    assert (len(data.train), len(data.val), len(data.test)) == (45_000, 5_000, 10_000)
    assert np.bincount(data.val.labels).tolist() == [500] * 10
    # The published channel means of the original training images; JPEG hardly moves them.
    mean = np.concatenate([data.train.pixels(), data.val.pixels()]).mean((0, 1, 2)) / 255
    np.testing.assert_allclose(mean, (0.4914, 0.4822, 0.4465), atol=0.002)
    assert data.test.names[0] == "test/airplane/0000.jpg"
