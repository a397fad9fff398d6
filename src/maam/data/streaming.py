"""Images of a folder in memory or, if they would take more than half of it, packed and streamed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from maam.core.environment import free_memory
from maam.core.files import cache_dir
from maam.core.footprint import parse_size
from maam.data.base import Dataset
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
) -> Dataset:
    """The images of a folder, an archive or a table as a data set.

    If they would take more memory than ``memory_for_images``, they are packed into the cache,
    once, and come from there when they are needed.

    Args:
        tree: what was scanned.
        image_size, val_fraction, seed: as ``folder.load``.
        tell: told beforehand if images are packed, which takes a while.

    Raises:
        MaamError: as ``folder.load`` and ``pack``.
    """
    side = image_size or DEFAULT_SIZE
    needed, most = len(tree.files) * side * side * 3, memory_for_images()
    if most is None or needed <= most:
        return read_tree(tree, image_size, val_fraction, seed)
    tree.check_no_empty()
    pack = cache_dir() / "packs" / _key(tree, side)
    if not packed.is_pack(pack):
        tell(
            f"{len(tree.files):,} images take {needed / 1e9:,.1f} GB, more than the "
            f"{most / 1e9:,.1f} GB for images: they are packed into {pack} and read from there"
        )
        write_pack(tree, pack, side)
    dataset = packed.load(pack, None, val_fraction, seed)
    return replace(dataset, name=tree.path.resolve().name, source=f"images in {tree.path}")


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
    sha = hashlib.sha256(f"{tree.path.resolve()} {side}\n".encode("utf-8", "surrogateescape"))
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
