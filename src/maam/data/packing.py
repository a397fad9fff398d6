"""Images packed into shards, for more of them than memory holds: resized, lossless, each once.

A pack is a folder of tar files in the layout of WebDataset (https://github.com/webdataset): each
image is ``NUMBER.png`` and ``NUMBER.cls``, its class number in decimal. Beside them lies an index,
by which ``sources.packed`` finds any image at once.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from maam.core.errors import MaamError
from maam.core.files import atomic_folder
from maam.core.tensors import save_tensors
from maam.data.files import conversion, decoding
from maam.data.files.packs import FORMAT, PACK_INDEX, SPLITS
from maam.data.files.pixels import map_files
from maam.data.files.tree import ImageFile, Tree, scan
from maam.data.fingerprints import fingerprint
from maam.data.look import suited_size, typical_side
from maam.data.sources.folder import too_many

SHARD_IMAGES, MOST_SHARDS = 4096, 256  # of a split: larger shards for more images

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
    if os.path.lexists(target):
        raise MaamError(f"{target} is there already: name a folder that is not")
    if path.resolve() in target.resolve().parents:
        raise MaamError(f"{target} lies among the images of {path}: name a folder elsewhere")
    if image_size is not None and not 8 <= image_size <= 512:
        raise MaamError(f"`image_size={image_size}`: give 8 to 512 pixels")
    tree = scan(path)
    tree.check_no_empty()
    side = image_size or suited_size(typical_side(tree) or 0)
    return write_pack(tree, target, side, progress)


def write_pack(
    tree: Tree,
    target: Path,
    side: int,
    progress: Progress | None = None,
    list_repeats: bool = False,
) -> Packed:
    """``pack`` for a tree that is scanned already.

    Args:
        tree, target, side, progress: as for ``pack``.
        list_repeats: whether an image that is there several times, though it is written once, is
            listed as often: the pack is then split as the tree is.

    Raises:
        MaamError: as ``pack``.
    """
    with atomic_folder(target) as scratch:
        writer = _Writer(scratch, tree, side, list_repeats)
        encoded = map_files(tree, partial(_encode, side))
        for done, (file, image) in enumerate(encoded, 1):
            writer.add(file, image)
            if progress is not None:
                progress(done, len(tree.files))
        return writer.finish(target)


class Encoded(NamedTuple):
    """An image as it is packed, or why it is not; and whether its file holds several."""

    png: bytes
    fingerprint: int
    reason: str = ""
    several: bool = False


def _encode(side: int, file: ImageFile, content: Path | bytes) -> Encoded:
    try:
        picture = decoding.read(content, file.name, (side, side))
    except decoding.UnreadableImage as error:
        return Encoded(b"", 0, error.reason)
    pixels = conversion.fit(picture.image, (side, side), 3)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return Encoded(stream.getvalue(), fingerprint(pixels), "", picture.several)


class _Writer:
    """Writes the shards of a pack, all at once, so that each gets images from all over.

    The index has a place for every file of the tree, in its order, whatever that of an archive is.
    """

    def __init__(self, folder: Path, tree: Tree, side: int, list_repeats: bool = False) -> None:
        self.folder, self.tree, self.side, self.list_repeats = folder, tree, side, list_repeats
        self.place = {file: place for place, file in enumerate(tree.files)}
        names, labels = np.unique([file.label for file in tree.files], return_inverse=True)
        self.classes: tuple[str, ...] = tuple(names.tolist())  # to score there may be no training
        count, self.label = len(tree.files), labels.astype(np.int32)
        self.split = np.array([SPLITS.index(file.split) for file in tree.files], np.int8)
        self.shard, self.size = np.zeros(count, np.int32), np.zeros(count, np.int32)
        self.offset, self.fingerprint = np.zeros(count, np.int64), np.zeros(count, np.uint64)
        self.files: list[Path] = []
        for split, name in enumerate(SPLITS):
            places = np.flatnonzero(self.split == split)
            shards = min(MOST_SHARDS, -(-len(places) // SHARD_IMAGES))
            turns = np.random.default_rng(split).permutation(len(places)) % max(1, shards)
            self.shard[places] = turns + len(self.files)
            self.files += [folder / f"{name}-{shard:05}.tar" for shard in range(shards)]
        self.ends = [0] * len(self.files)  # bytes in each
        self.first: dict[tuple[int, int, int], int] = {}  # the place of each image
        self.written = 0
        self.skipped: dict[int, str] = {}  # place -> why
        self.several: list[str] = []

    def add(self, file: ImageFile, image: Encoded) -> None:
        place = self.place[file]
        if image.reason:
            self.skipped[place] = image.reason
            return
        if image.several:
            self.several.append(file.name)
        key = image.fingerprint, int(self.label[place]), int(self.split[place])
        first = self.first.setdefault(key, place)
        if first == place:
            self._write(place, image)
        elif self.list_repeats:
            for values in (self.shard, self.offset, self.size, self.fingerprint):
                values[place] = values[first]

    def _write(self, place: int, image: Encoded) -> None:
        shard = int(self.shard[place])
        self.offset[place] = self.ends[shard] + tarfile.BLOCKSIZE  # behind its header
        self.size[place], self.fingerprint[place] = len(image.png), image.fingerprint
        label = str(self.label[place]).encode()
        name = f"{self.written:09}"
        self._append(shard, _member(f"{name}.png", image.png) + _member(f"{name}.cls", label))
        self.written += 1

    def _append(self, shard: int, content: bytes) -> None:
        with self.files[shard].open("ab") as stream:  # not kept open: there may be very many
            stream.write(content)
        self.ends[shard] += len(content)

    def finish(self, target: Path) -> Packed:
        """End the shards, and write the index."""
        tree, files = self.tree, self.tree.files
        skipped = tuple((files[place].name, self.skipped[place]) for place in sorted(self.skipped))
        if len(skipped) == len(files):
            name, reason = skipped[0]
            raise MaamError(f"no image in {tree.path} can be read, such as {name}: {reason}")
        if what := too_many(len(skipped), len(files)):
            raise MaamError(f"{tree.path}: {what}: `maam data` with --json FILE lists them")
        listed = np.flatnonzero(self.size)
        names = [files[place].name.encode("utf-8", "surrogateescape") for place in listed]
        for shard, file in enumerate(self.files):
            end = self.ends[shard] + 2 * tarfile.BLOCKSIZE
            end += -end % tarfile.RECORDSIZE
            self._append(shard, bytes(end - self.ends[shard]))
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        notes = (*tree.notes, *decoding.first_ones_note(self.several))
        arrays = {
            "shard": self.shard[listed],
            "offset": self.offset[listed],
            "size": self.size[listed],
            "label": self.label[listed],
            "split": self.split[listed],
            "fingerprint": self.fingerprint[listed],
            "name_end": np.cumsum([len(name) for name in names], dtype=np.int64),
            "names": np.frombuffer(b"".join(names), np.uint8),
        }
        about = {
            "format": FORMAT,
            "source": str(tree.path.resolve().name),
            "classes": self.classes,
            "image_size": self.side,
            "given": sorted({file.split for file in files}),
            "shards": {file.name: size for file, size in zip(self.files, self.ends, strict=True)},
            "skipped": skipped,
            "notes": notes,
        }
        save_tensors(self.folder / PACK_INDEX, arrays, about)
        counts = Counter(arrays["split"].tolist())
        return Packed(
            path=target,
            classes=self.classes,
            image_size=self.side,
            images={split: counts[i] for i, split in enumerate(SPLITS) if counts[i]},
            shards=len(self.files),
            bytes=sum(self.ends),
            repeats=len(files) - len(skipped) - len(listed),
            skipped=skipped,
            notes=notes,
        )


def _member(name: str, content: bytes) -> bytes:
    """A file as it stands in a tar file: its header, and what it holds, in whole blocks."""
    about = tarfile.TarInfo(name)
    about.size = len(content)
    return about.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)
