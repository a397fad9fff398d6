"""Packs of ``maam data pack``: their index, checked, and the images in their shards."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, TypeGuard

import numpy as np
from PIL import Image

from maam.core.errors import MaamError
from maam.core.tensors import load_tensors
from maam.data.fingerprints import fingerprint

PACK_INDEX = "index.safetensors"
FORMAT = 1
SPLITS = ("train", "val", "test")
MOST_OPEN = 64  # shards: some systems let a process open no more than 256 files

_ARRAYS = {
    "shard": np.int32,
    "offset": np.int64,
    "size": np.int32,
    "label": np.int32,
    "split": np.int8,
    "fingerprint": np.uint64,
    "name_end": np.int64,
    "names": np.uint8,
}


@dataclass(frozen=True)
class _Opened:
    """A file that is open until nobody uses it any more."""

    descriptor: int

    def __del__(self) -> None:
        os.close(self.descriptor)


@dataclass(frozen=True)
class Pack:
    """An open pack.

    Attributes:
        path: the folder.
        about: classes, image size, shards, and what was skipped.
        rows: the index: arrays with a value an image.
        files: the shards.
    """

    path: Path
    about: dict[str, Any]
    rows: dict[str, np.ndarray]
    files: tuple[Path, ...]
    _open: dict[int, _Opened] = field(default_factory=dict)  # the last one was used last
    _lock: Lock = field(default_factory=Lock)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        side = self.about["image_size"]
        return side, side, 3

    def name(self, row: int) -> str:
        """The file that an image was made of."""
        ends = self.rows["name_end"]
        start = int(ends[row - 1]) if row else 0
        return bytes(self.rows["names"][start : ends[row]]).decode("utf-8", "surrogateescape")

    def decode(self, row: int) -> np.ndarray:
        """An image, uint8 (H, W, 3).

        Raises:
            MaamError: the shard can't be read, or is damaged.
        """
        shard, size = int(self.rows["shard"][row]), int(self.rows["size"][row])
        try:
            opened = self._opened(shard)
            content = os.pread(opened.descriptor, size, int(self.rows["offset"][row]))
        except OSError as error:
            raise MaamError(f"cannot read {self.files[shard]}: {error.strerror}") from error
        try:
            image = Image.open(io.BytesIO(content), formats=("PNG",))
            same = (*image.size, 3) == self.image_shape  # before it is unpacked
            pixels = np.array(image, np.uint8) if same else None
        except Exception:  # Pillow's parser, given damaged bytes, raises nearly anything
            raise self._damaged(shard, "an image in it is damaged") from None
        if pixels is None or fingerprint(pixels) != int(self.rows["fingerprint"][row]):
            raise self._damaged(shard, "it holds other images than were packed")
        return pixels

    def _opened(self, shard: int) -> _Opened:
        """The open file of a shard; of all shards, those stay open that were used last."""
        with self._lock:
            opened = self._open.pop(shard, None)
            if opened is None:
                opened = _Opened(os.open(self.files[shard], os.O_RDONLY))
            self._open[shard] = opened
            if len(self._open) > MOST_OPEN:
                del self._open[next(iter(self._open))]
            return opened

    def _damaged(self, shard: int, why: str) -> MaamError:
        return MaamError(
            f"cannot read {self.files[shard]}: {why}; delete {self.path} and pack the images anew"
        )


@dataclass(frozen=True, eq=False)
class PackedImage:
    """An image of a pack, not read yet."""

    pack: Pack
    row: int

    def decode(self) -> np.ndarray:
        """As ``Pack.decode``."""
        return self.pack.decode(self.row)


def is_pack(path: Path) -> bool:
    """Whether a folder is a pack."""
    return os.path.isfile(path / PACK_INDEX)  # False also where one may not look


def lacks_index(path: Path) -> bool:
    """Whether a folder has shards of a pack, and not its index."""
    return path.is_dir() and not is_pack(path) and any(path.glob("train-[0-9]*.tar"))


def open_pack(path: Path) -> Pack:
    """Open a pack.

    Raises:
        MaamError: it is damaged, not whole, or of another version.
    """
    rows, about = load_tensors(path / PACK_INDEX)
    if about.get("format") != FORMAT:
        raise MaamError(f"{path} was packed by another version of maam: pack the images anew")
    if not (_describes(about) and _lists(rows, about)):
        raise MaamError(f"{path / PACK_INDEX} was not written by maam: pack the images anew")
    files = tuple(path / name for name in about["shards"])
    for file in files:
        size = file.stat().st_size if file.is_file() else None
        if size != about["shards"][file.name]:
            what = "is missing" if size is None else f"has {size:,} bytes"
            raise MaamError(f"{file} {what}: copy the whole pack, or pack the images anew")
    return Pack(path, about, rows, files)


def _describes(about: dict[str, Any]) -> bool:
    """Whether an index says all that it should, whoever wrote it."""
    classes, given = about.get("classes"), about.get("given")
    shards, side = about.get("shards"), about.get("image_size")
    return (
        isinstance(about.get("source"), str)
        and _texts(classes)
        and len(set(classes)) == len(classes) > 1
        and _texts(given)
        and set(given) <= set(SPLITS)
        and isinstance(side, int)
        and 8 <= side <= 512
        and isinstance(shards, dict)
        and all(os.path.basename(name) == name for name in shards)  # in the pack's folder
        and isinstance(skipped := about.get("skipped"), list)
        and all(_texts(each) and len(each) == 2 for each in skipped)
        and _texts(about.get("notes"))
    )


def _texts(values: Any) -> TypeGuard[list[str]]:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _lists(rows: dict[str, np.ndarray], about: dict[str, Any]) -> bool:
    """Whether the arrays of an index fit each other, and what it says."""
    if {name: array.dtype for name, array in rows.items()} != _ARRAYS:
        return False
    count, ends = rows["label"].size, rows["name_end"]
    counts = {array.shape for name, array in rows.items() if name != "names"}
    limits = {"shard": about["shards"], "label": about["classes"], "split": SPLITS}
    return (
        counts == {(count,)}
        and count > 0
        and all(0 <= rows[name].min() <= rows[name].max() < len(of) for name, of in limits.items())
        and rows["offset"].min() >= 0
        and rows["size"].min() > 0
        and bool((np.diff(ends, prepend=0) >= 0).all())
        and rows["names"].shape == (ends[-1],)
    )
