"""Images packed into shards, for more of them than memory holds: resized, lossless, each once.

A pack is a folder of tar files in the layout of WebDataset (https://github.com/webdataset): each
image is ``NUMBER.png`` and ``NUMBER.cls``, its class number in decimal. Beside them lies an index,
by which ``sources.packed`` finds any image at once.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from maam.core.errors import MaamError
from maam.core.files import make_folder
from maam.core.signals import check_signals
from maam.core.tensors import save_tensors
from maam.data.files import conversion, decoding
from maam.data.files.tree import PACK_INDEX, ImageFile, Tree, scan
from maam.data.fingerprints import fingerprint
from maam.data.look import suited_size, typical_side
from maam.data.sources.folder import too_many
from maam.data.sources.packed import FORMAT, SPLITS

SHARD_IMAGES, MOST_SHARDS = 4096, 256  # of a split: larger shards for more images
_BATCH, _PART = 512, 16  # files in memory at once, and those that a thread takes at once
_BLOCK = tarfile.BLOCKSIZE

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Packed:
    """What was packed.

    Attributes:
        path: the folder.
        classes: in label order.
        image_size: side in pixels.
        images: split folder -> how many.
        shards, bytes: how many tar files, and their size.
        repeats: images left out, for the same pixels are there under the same class and split.
        skipped: files that could not be read, as (name, reason).
        notes: what else a person should know, such as files that are not used.
    """

    path: Path
    classes: tuple[str, ...]
    image_size: int
    images: dict[str, int]
    shards: int
    bytes: int
    repeats: int
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def pack(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    image_size: int | None = None,
    progress: Progress | None = None,
) -> Packed:
    """Pack the images of a folder, an archive or a CSV file, to train on more than memory holds.

    Args:
        source: what ``maam.train`` takes as ``data``, but for the built-in data sets.
        out: the folder to make.
        image_size: side in pixels; what suits them if None.
        progress: called with (images so far, images in all).

    Example:
        >>> maam.pack("photos", "packed", image_size=64).images

    Raises:
        MaamError: ``out`` is there already or can't be written, an option or the images are bad, or
            none can be read. Nothing is left then.
    """
    path, target = Path(os.path.expanduser(source)), Path(os.path.expanduser(out))
    if target.exists():
        raise MaamError(f"{target} is there already: name a folder that is not")
    if image_size is not None and not 8 <= image_size <= 512:
        raise MaamError(f"`image_size={image_size}`: give 8 to 512 pixels")
    tree = scan(path)
    tree.check_no_empty()
    side = image_size or suited_size(typical_side(tree) or 0)
    return write_pack(tree, target, side, progress)


def write_pack(tree: Tree, target: Path, side: int, progress: Progress | None = None) -> Packed:
    """``pack`` for a tree that is scanned already, which takes the place of an older pack.

    Raises:
        MaamError: as ``pack``.
    """
    make_folder(target.parent)
    scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir()
        with _Writer(scratch, tree, side) as writer:
            for done, encoded in enumerate(_encoded(tree, side), 1):
                writer.add(*encoded)
                if progress is not None:
                    progress(done, len(tree.files))
        packed = writer.finish(target)
        if target.exists():
            shutil.rmtree(target)
        scratch.replace(target)
    except OSError as error:
        raise MaamError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return packed


class Encoded(NamedTuple):
    """An image as it is packed, or why it is not; and whether its file holds several."""

    png: bytes
    fingerprint: int
    reason: str = ""
    several: bool = False


def _encoded(tree: Tree, side: int) -> Iterator[tuple[ImageFile, Encoded]]:
    """Every file of the tree, decoded, fitted and encoded in threads."""

    def encode(part: list[tuple[ImageFile, Path | bytes]]) -> list[tuple[ImageFile, Encoded]]:
        return [(file, _encode(file, content, side)) for file, content in part]

    contents = tree.contents()
    with decoding.pillow_quiet(), ThreadPoolExecutor(os.cpu_count()) as pool:
        while batch := list(islice(contents, _BATCH)):
            check_signals()
            parts = [batch[start : start + _PART] for start in range(0, len(batch), _PART)]
            for part in pool.map(encode, parts):
                yield from part


def _encode(file: ImageFile, content: Path | bytes, side: int) -> Encoded:
    try:
        picture = decoding.read(content, file.name, (side, side))
    except decoding.UnreadableImage as error:
        return Encoded(b"", 0, error.reason)
    pixels = conversion.fit(picture.image, (side, side), 3)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return Encoded(stream.getvalue(), fingerprint(pixels), "", picture.several)


@dataclass
class _Rows:
    """The index while it grows, a value an image in each array."""

    shard: array = field(default_factory=lambda: array("i"))
    offset: array = field(default_factory=lambda: array("q"))
    size: array = field(default_factory=lambda: array("i"))
    label: array = field(default_factory=lambda: array("i"))
    split: array = field(default_factory=lambda: array("b"))
    fingerprint: array = field(default_factory=lambda: array("Q"))
    name_end: array = field(default_factory=lambda: array("q"))
    names: bytearray = field(default_factory=bytearray)


class _Writer:
    """Writes the shards of a pack, all of them open, so that each gets images from all over."""

    def __init__(self, folder: Path, tree: Tree, side: int) -> None:
        self.folder, self.tree, self.side = folder, tree, side
        self.number = {name: label for label, name in enumerate(tree.classes)}
        counts = Counter(file.split for file in tree.files)
        self.files: list[Path] = []
        self.turns: dict[str, Iterator[int]] = {}
        for split in SPLITS:
            shards = min(MOST_SHARDS, -(-counts[split] // SHARD_IMAGES))
            first, rng = len(self.files), np.random.default_rng(SPLITS.index(split))
            self.files += [folder / f"{split}-{shard:05}.tar" for shard in range(shards)]
            turns = rng.permutation(counts[split]) % max(1, shards) + first
            self.turns[split] = iter(turns.astype(np.int32))
        self.tars: list[tarfile.TarFile] = []
        self.rows, self.seen, self.repeats = _Rows(), set[tuple[int, int, int]](), 0
        self.skipped: list[tuple[str, str]] = []
        self.several: list[str] = []

    def __enter__(self) -> _Writer:
        for file in self.files:
            self.tars.append(tarfile.open(file, "w", format=tarfile.USTAR_FORMAT))
        return self

    def __exit__(self, *error: object) -> None:
        for tar in self.tars:
            tar.close()

    def add(self, file: ImageFile, image: Encoded) -> None:
        shard = next(self.turns[file.split])
        if image.reason:
            self.skipped.append((file.name, image.reason))
            return
        if image.several:
            self.several.append(file.name)
        label, split = self.number[file.label], SPLITS.index(file.split)
        if (key := (image.fingerprint, label, split)) in self.seen:
            self.repeats += 1
            return
        self.seen.add(key)
        rows, tar = self.rows, self.tars[shard]
        name = f"{len(rows.shard):09}"
        rows.shard.append(shard)
        rows.offset.append(tar.offset + _BLOCK)  # behind its header
        rows.size.append(len(image.png))
        rows.label.append(label)
        rows.split.append(split)
        rows.fingerprint.append(image.fingerprint)
        rows.names += file.name.encode("utf-8", "surrogateescape")
        rows.name_end.append(len(rows.names))
        for suffix, content in (("png", image.png), ("cls", str(label).encode())):
            member = tarfile.TarInfo(f"{name}.{suffix}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))

    def finish(self, target: Path) -> Packed:
        """Write the index, once all shards are closed."""
        rows, tree = self.rows, self.tree
        if not rows.shard:
            name, reason = self.skipped[0]
            raise MaamError(f"no image in {tree.path} can be read, such as {name}: {reason}")
        if what := too_many(len(self.skipped), len(tree.files)):
            raise MaamError(f"{tree.path}: {what}: `maam data` with --json FILE lists them")
        sizes = []
        for file in self.files:
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
            sizes.append(file.stat().st_size)
        notes = (*tree.notes, *decoding.first_ones_note(self.several))
        counts = Counter(rows.split)
        arrays = {
            "shard": np.array(rows.shard, np.int32),
            "offset": np.array(rows.offset, np.int64),
            "size": np.array(rows.size, np.int32),
            "label": np.array(rows.label, np.int32),
            "split": np.array(rows.split, np.int8),
            "fingerprint": np.array(rows.fingerprint, np.uint64),
            "name_end": np.array(rows.name_end, np.int64),
            "names": np.frombuffer(bytes(rows.names), np.uint8),
        }
        about = {
            "format": FORMAT,
            "source": str(tree.path.resolve().name),
            "classes": tree.classes,
            "image_size": self.side,
            "given": sorted({file.split for file in tree.files}),
            "shards": {file.name: size for file, size in zip(self.files, sizes, strict=True)},
            "sha256": {file.name: _sha256(file) for file in self.files},
            "skipped": self.skipped,
            "notes": notes,
        }
        save_tensors(self.folder / PACK_INDEX, arrays, about)
        return Packed(
            path=target,
            classes=tree.classes,
            image_size=self.side,
            images={split: counts[i] for i, split in enumerate(SPLITS) if counts[i]},
            shards=len(self.files),
            bytes=sum(sizes),
            repeats=self.repeats,
            skipped=tuple(self.skipped),
            notes=notes,
        )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
