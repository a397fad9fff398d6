"""Fashion-MNIST: 60,000 + 10,000 grey images of clothes, 28 x 28, from its four IDX files."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from pathlib import Path

import numpy as np

from maam.core.errors import MaamError
from maam.data.base import ArraySplit, Dataset, Split
from maam.data.files.downloads import Progress
from maam.data.files.locations import cache_dir, fetch, search_folders
from maam.data.splits import hold_out

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
FILES = {  # name -> checksum of its .gz
    "train-images-idx3-ubyte": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte": "md5:25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte": "md5:bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte": "md5:bb300cfdad3c16e7a12a480ee83cd310",
}
SUBFOLDER = "fashion-mnist"
DEBIAN = Path("/usr/share/datasets")
"""Where Debian's package dataset-fashion-mnist puts SUBFOLDER."""

# MNIST's files have the same names and shapes, so the published labels are told by their digest.
_TRAIN_LABELS_SHA256 = "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7"
_MAX_IDX_BYTES = 2**27  # the largest of the files has 47,040,016


def load(
    data_dir: Path | None, val_fraction: float, seed: int, progress: Progress | None = None
) -> Dataset:
    """Find Fashion-MNIST, or download it, and read it.

    Args:
        data_dir: a folder with the four IDX files (.gz or not), or with a folder
            ``fashion-mnist`` that has them; looked at before MAAM_DATA, the cache folder and
            Debian's package.
        val_fraction: fraction of the training images held out as ``val``, stratified.
        seed: seed of that choice.
        progress: called while downloading, from zero for each file.

    Returns:
        Images uint8 (N, 28, 28, 1) in the files' order.

    Raises:
        MaamError: not found and not downloadable, or found and damaged.
    """
    candidates = [*search_folders(data_dir), DEBIAN]
    files = find(candidates) or [
        _fetch(name, checksum, candidates, progress) for name, checksum in FILES.items()
    ]
    train_images, train_labels, test_images, test_labels = map(_read_idx, files)
    train = _split("train", train_images, train_labels, files[0])
    test = _split("test", test_images, test_labels, files[2])
    source = "Fashion-MNIST"
    if hashlib.sha256(train_labels.tobytes()).hexdigest() != _TRAIN_LABELS_SHA256:
        source = f"{files[0].parent} (Fashion-MNIST's file names, but not its published labels)"
    train, val = hold_out(train, val_fraction, seed)
    return Dataset("fashion-mnist", source, CLASSES, train, val, test, augment="crop-flip")


def find(candidates: list[Path]) -> list[Path] | None:
    """The four files, from the first folder that has them all."""
    for candidate in candidates:
        for folder in (candidate / SUBFOLDER, candidate):
            files = [_either(folder / f"{name}.gz", folder / name) for name in FILES]
            if all(map(os.path.isfile, files)):
                return files
    return None


def _either(first: Path, second: Path) -> Path:
    return first if os.path.isfile(first) else second


def _fetch(name: str, checksum: str, candidates: list[Path], progress: Progress | None) -> Path:
    path = cache_dir() / SUBFOLDER / f"{name}.gz"
    if path.is_file():  # left by a run that was stopped between two files
        return path
    return fetch(f"{URL}/{name}.gz", path, checksum, candidates, progress)


def _read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of bytes: uint8 array of the shape in its header.

    Layout: 0, 0, 8 (type: unsigned byte), number of axes; each axis as big-endian uint32; data.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read(_MAX_IDX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise MaamError(f"{path}: damaged or cut short ({error}); get it again") from error
    axes = content[3] if len(content) > 3 else 0
    if content[:3] != b"\x00\x00\x08" or axes not in (1, 3):
        raise MaamError(f"{path}: not an IDX file of images or labels; get it again")
    start = 4 + 4 * axes
    shape = tuple(
        int(size) for size in np.frombuffer(content[4:start].ljust(4 * axes, b"\0"), ">u4")
    )
    expected = start + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise MaamError(
            f"{path}: {len(content):,} bytes, expected {expected:,} for shape {shape}; get it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()  # writable


def _split(split: str, images: np.ndarray, labels: np.ndarray, path: Path) -> Split:
    if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1] or not len(labels):
        raise MaamError(
            f"{path}: images {images.shape} and labels {labels.shape} do not fit together, "
            "expected (N, 28, 28) and (N,)"
        )
    if labels.max() >= len(CLASSES):
        raise MaamError(f"{path}: its labels file has label {labels.max()}, expected 0 to 9")
    names = tuple(f"{split}/{index}" for index in range(len(labels)))
    return ArraySplit(images[..., np.newaxis], labels.astype(np.int32), names)
