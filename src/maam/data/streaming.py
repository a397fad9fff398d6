"""Images of a folder in memory or, if they would take more than half of it, packed and streamed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from maam.core.environment import free_memory
from maam.core.errors import MaamError
from maam.core.files import cache_dir, locked, make_folder
from maam.core.footprint import parse_size
from maam.data.base import Dataset
from maam.data.files.packs import FORMAT, open_pack
from maam.data.files.tree import Tree
from maam.data.packing import write_pack
from maam.data.sources import packed
from maam.data.sources.folder import DEFAULT_SIZE, read_tree

Tell = Callable[[str], None]


def load_tree(
    tree: Tree,
    image_size: int | None,
    val_fraction: float,
    seed: int,
    tell: Tell = lambda text: None,
    stream: bool | None = None,
) -> Dataset:
    """The images of a folder, an archive or a table as a data set.

    If they would take more memory than ``memory_for_images``, they are packed into the cache,
    once, and come from there when they are needed.

    Args:
        tree: what was scanned.
        image_size, val_fraction, seed: as ``folder.load``.
        tell: told beforehand if images are packed, which takes a while.
        stream: whether they come from a pack, if that is known beforehand.

    Raises:
        MaamError: as ``folder.load`` and ``pack``.
    """
    if not (exceeds_memory(tree, image_size) if stream is None else stream):
        return read_tree(tree, image_size, val_fraction, seed)
    tree.check_no_empty()
    pack = packed_tree(tree, image_size or DEFAULT_SIZE, tell)
    dataset = packed.load(pack, None, val_fraction, seed)
    return replace(dataset, name=tree.path.resolve().name, source=f"images in {tree.path}")


def packed_tree(tree: Tree, side: int, tell: Tell = lambda text: None) -> Path:
    """The pack of a tree in the cache, which is made if it is not there.

    Args:
        tree: what was scanned.
        side: of the images, in pixels.
        tell: told beforehand if they are packed, which takes a while.

    Raises:
        MaamError: as ``pack``.
    """
    pack = cache_dir() / "packs" / _key(tree, side)
    if not _is_whole(pack):
        size = f"{len(tree.files):,} images of {_bytes(tree, side) / 1e9:,.1f} GB"
        tell(f"{size} are packed into {pack} and read from there")
        make_folder(pack.parent)
        with locked(pack.with_suffix(".lock")):
            if not _is_whole(pack):  # another process has packed them meanwhile
                shutil.rmtree(pack, ignore_errors=True)
                write_pack(tree, pack, side, list_repeats=True)
    return pack


def exceeds_memory(tree: Tree, image_size: int | None) -> bool:
    """Whether decoded images take more than ``memory_for_images``.

    Raises:
        MaamError: MAAM_MEMORY is no size.
    """
    most = memory_for_images()
    return most is not None and _bytes(tree, image_size or DEFAULT_SIZE) > most


def _bytes(tree: Tree, side: int) -> int:
    return len(tree.files) * side * side * 3


def _is_whole(pack: Path) -> bool:
    try:
        open_pack(pack)
    except MaamError:
        return False
    return True


def memory_for_images() -> int | None:
    """Bytes that decoded images may take: MAAM_MEMORY, else half of what is free; None: unknown.

    Raises:
        MaamError: MAAM_MEMORY is no size.
    """
    if given := os.environ.get("MAAM_MEMORY"):
        return parse_size("MAAM_MEMORY", given)
    free = free_memory()
    return None if free is None else free // 2


def _key(tree: Tree, side: int) -> str:
    """A name for the pack of these files as they are now."""
    what = f"{tree.path.resolve()} {side} {FORMAT} with repeats\n"
    sha = hashlib.sha256(what.encode("utf-8", "surrogateescape"))
    for file in tree.files:
        sha.update(repr(file).encode("utf-8", "surrogateescape"))
        if not tree.is_archive:
            sha.update(_state(Path(file.name)))
    sha.update(_state(tree.path))
    return sha.hexdigest()[:16]


def _state(path: Path) -> bytes:
    """What changes when a file is written; nothing of one that is missing, which is told later."""
    try:
        status = path.stat()
    except OSError:
        return b""
    return f"{status.st_size} {status.st_mtime_ns}\n".encode()
