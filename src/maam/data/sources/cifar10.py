"""CIFAR-10: 50,000 + 10,000 colour images, 32 x 32, from the official archive or JPEG files."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from maam.core.errors import MaamError
from maam.data.base import ArraySplit, Dataset, Split
from maam.data.files.archives import read_members
from maam.data.files.downloads import Progress
from maam.data.files.locations import cache_dir, fetch, search_folders
from maam.data.splits import hold_out

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
PER_CLASS = {"train": 5000, "test": 1000}

ARCHIVE = "cifar-10-binary.tar.gz"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
CHECKSUM = "md5:c32a1d4ab5d03f1284b67883e8d87530"

BATCHES = {
    "train": [f"data_batch_{number}.bin" for number in range(1, 6)],
    "test": ["test_batch.bin"],
}
RECORD_BYTES = 1 + 3 * 32 * 32  # label, then the image as (C, H, W)

_LAYOUTS = (  # looked for in every folder, in this order: what must be there, what is then read
    (ARCHIVE, ARCHIVE),
    ("cifar-10-batches-bin", "cifar-10-batches-bin"),
    ("data_batch_1.bin", "."),
    ("cifar10-jpeg.tar.gz", "cifar10-jpeg.tar.gz"),
    ("cifar10-jpeg/train/airplane", "cifar10-jpeg"),
    ("train/airplane", "."),
)
_MEMBER = re.compile(
    r"(?:[^/]+/)?"
    r"((?:data_batch_[1-5]|test_batch)\.bin"
    rf"|(?:train|test)/(?:{'|'.join(CLASSES)})/\d{{4}}\.jpg)"
)


def load(
    data_dir: Path | None, val_fraction: float, seed: int, progress: Progress | None = None
) -> Dataset:
    """Find CIFAR-10, or download it, and read it.

    Args:
        data_dir: the archive, or a folder with the archive or its extracted files; looked at
            before MAAM_DATA and the cache folder.
        val_fraction: fraction of the training images held out as ``val``, stratified.
        seed: seed of that choice.
        progress: called while downloading.

    Returns:
        Images uint8 (N, 32, 32, 3) in the archive's order.

    Raises:
        MaamError: not found and not downloadable, or found and damaged or incomplete.
    """
    candidates = search_folders(data_dir)
    path = find(candidates) or fetch(URL, cache_dir() / ARCHIVE, CHECKSUM, candidates, progress)
    try:
        source, train, test = _read_cached(path) if path.is_file() else _read(path)
    except OSError as error:
        raise MaamError(f"{path}: cannot be read ({error})") from error
    train, val = hold_out(train, val_fraction, seed)
    return Dataset("cifar10", source, CLASSES, train, val, test, augment="crop-flip")


def find(candidates: list[Path]) -> Path | None:
    for candidate in candidates:
        if os.path.isfile(candidate):  # unlike Path.is_file, False where a folder may not be read
            return candidate
        for marker, root in _LAYOUTS:
            if os.path.exists(candidate / marker):
                return candidate / root
    return None


def _read(path: Path) -> tuple[str, Split, Split]:
    """Read an archive or a folder: (source, train, test)."""
    members = dict(_members(path))
    if not members:
        raise MaamError(
            f"{path}: neither CIFAR-10's binary version (data_batch_1.bin ...) nor its JPEG images "
            "(train/airplane/0000.jpg ...) are in it"
        )
    if any(name.endswith(".bin") for name in members):
        train, test = (_read_batches(members, path, split) for split in BATCHES)
        complete = len(train) == 50_000 and len(test) == 10_000
        only = "" if complete else f", {len(train)} + {len(test)} images only"
        return f"CIFAR-10 (original binary){only}", train, test
    train, test = (_read_jpegs(members, path, split) for split in PER_CLASS)
    return "CIFAR-10 (JPEG copy)", train, test


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the CIFAR-10 files below ``path``, without a folder above all of them."""
    if path.is_file():
        for name, content in read_members(path, _MEMBER):
            match = _MEMBER.fullmatch(name)
            assert match is not None
            yield match[1], content
        return
    for file in sorted([*path.glob("*.bin"), *path.glob("t*/*/*.jpg")]):
        name = file.relative_to(path).as_posix()
        if _MEMBER.fullmatch(name):
            yield name, file.read_bytes()


def _read_batches(members: Mapping[str, bytes], path: Path, split: str) -> Split:
    images, labels = [], []
    for name in BATCHES[split]:
        content = members.get(name, b"")
        if not content or len(content) % RECORD_BYTES:
            raise MaamError(
                f"{path}: {name} is missing, empty or cut short ({len(content):,} bytes, not a "
                f"multiple of {RECORD_BYTES}); get the archive again"
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, RECORD_BYTES)
        if records[:, 0].max() >= len(CLASSES):
            raise MaamError(f"{path}: {name} has a label above 9, so it is not CIFAR-10")
        labels.append(records[:, 0].astype(np.int32))
        images.append(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    all_labels = np.concatenate(labels)
    names = tuple(f"{split}/{index}" for index in range(len(all_labels)))
    return ArraySplit(np.ascontiguousarray(np.concatenate(images)), all_labels, names)


def _read_jpegs(members: Mapping[str, bytes], path: Path, split: str) -> Split:
    names = tuple(sorted(name for name in members if name.startswith(f"{split}/")))
    labels = np.array([CLASSES.index(name.split("/")[1]) for name in names], np.int32)
    counts = np.bincount(labels, minlength=len(CLASSES))
    if (counts != PER_CLASS[split]).any():
        worst = int(np.argmax(counts != PER_CLASS[split]))
        raise MaamError(
            f"{path}: {counts[worst]} images in {split}/{CLASSES[worst]}, expected "
            f"{PER_CLASS[split]}; it is not CIFAR-10, or incomplete: get it again"
        )
    images = np.empty((len(names), 32, 32, 3), np.uint8)
    for index, name in enumerate(names):
        images[index] = _decode(members[name], path, name)
    return ArraySplit(images, labels, names)


def _decode(content: bytes, path: Path, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            if image.size == (32, 32):
                return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise MaamError(f"{path}: {name} is damaged ({error}); get it again") from error
    raise MaamError(f"{path}: {name} is not 32 x 32 pixels, so it is not CIFAR-10")


def _read_cached(archive: Path) -> tuple[str, Split, Split]:
    """Read an archive; decode JPEG images only once and keep the arrays in the cache folder."""
    with open(archive, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    cache = cache_dir() / f"cifar10-jpeg-{digest[:16]}.npz"
    try:
        with open(cache, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            train, test = (_from_arrays(arrays, split) for split in PER_CLASS)
            return "CIFAR-10 (JPEG copy)", train, test
    except Exception:  # not there yet, or damaged in one of many ways: make it (again)
        pass
    source, train, test = _read(archive)
    if "JPEG" in source:
        _write_cache(cache, train, test)
    return source, train, test


def _from_arrays(arrays: Mapping[str, np.ndarray], split: str) -> Split:
    names = tuple(arrays[f"{split}_names"].tolist())
    return ArraySplit(arrays[f"{split}_images"], arrays[f"{split}_labels"], names)


def _write_cache(cache: Path, train: Split, test: Split) -> None:
    arrays = {
        f"{split}_{field}": np.asarray(getattr(images, field))
        for split, images in (("train", train), ("test", test))
        for field in ("images", "labels", "names")
    }
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache.parent, suffix=".npz.tmp", delete=False) as file:
            try:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, cache)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError:
        pass  # a cache that cannot be written costs ten seconds next time, nothing else
