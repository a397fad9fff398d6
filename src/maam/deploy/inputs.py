"""What a person names on the command line -> images: files, folders, globs, standard input."""

from __future__ import annotations

import glob
import itertools
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.data.files.decoding import SUFFIXES, missing
from maam.data.files.listing import is_image, is_output, suffix
from maam.data.files.packs import PackedImage, is_pack, open_pack

STDIN = "-"

# Control characters, which are in the first bytes of every image file and of no list of paths.
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\A(?:\xff\xd8|GIF8|RIFF)")
_HEAD_BYTES = 512
_MAX_IMAGE_BYTES = 2**28
_MAX_LINE_BYTES = 2**16
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True)
class Item:
    """One thing to classify: a name for people, and the image or why there is none.

    Attributes:
        name: the path, ``-`` for an image on standard input, ``inputs[3]`` for one in memory.
        image: a path, a file's content, an image in memory or in a pack; a reason (str) if it has
            none.
    """

    name: str
    image: Path | bytes | Image.Image | np.ndarray | PackedImage | str


def expand(inputs: Iterable[str], stdin: BinaryIO | None = None) -> Iterator[Item]:
    """The images that strings name, in order. What names none gives an item with a reason.

    - a file: itself, whatever its suffix;
    - a folder: the image files in it and in its subfolders, by name, also where links lead to;
      hidden ones are left out, run folders and pictures of `maam explain` below it, and a folder
      that was seen before under another name;
    - a pack: its images, by the names of the files that they were made of;
    - a glob (``*``, ``?``, ``[a-z]``, ``**`` for any depth): what it matches, by name, each once;
    - ``-``: standard input, which is one image if control characters or an image's magic are
      among its first bytes, and otherwise a list of files and folders, one a line (UTF-8).
    """
    for text in inputs:
        if text == STDIN:
            yield from _from_stdin(stdin or sys.stdin.buffer)
        elif os.path.lexists(text):
            yield from _from_path(text)
        elif _URL.match(text):
            yield Item(text, "addresses on the net are not supported: download the file first")
        elif glob.has_magic(text) and "\0" not in text:
            matches = sorted(glob.glob(text, recursive=True))
            found = (item for match in matches for item in _from_path(match))
            # Images of a pack are their own keys: their names are those of other files.
            items = {
                item.image if isinstance(item.image, PackedImage) else item.name: item
                for item in found
            }
            yield from items.values() or [Item(text, "the pattern matches no file")]
        else:
            yield Item(text, Path(text) if text else "the name is empty")


def find_images(inputs: Iterable[object], stdin: BinaryIO | None = None) -> Iterator[Item]:
    """``expand`` for strings; a ``Path`` as it is; bytes, Pillow images and arrays by number."""
    for index, given in enumerate(inputs):
        if isinstance(given, str):
            yield from expand([given], stdin)
        elif isinstance(given, os.PathLike):
            yield from _from_path(os.fsdecode(given))
        elif isinstance(given, (bytes, Image.Image, np.ndarray)):
            yield Item(f"inputs[{index}]", given)
        else:
            yield Item(f"inputs[{index}]", f"{type(given).__name__} is no path and no image")


def _from_path(path: str) -> Iterator[Item]:
    """A file, the images of a pack, or those in and below a folder but for the plots of runs."""
    if not os.path.isdir(path):
        yield Item(path, Path(path))
        return
    if is_pack(Path(path)):
        yield from _from_pack(Path(path))
        return
    empty = True
    failures: list[OSError] = []
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(path, onerror=failures.append, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        if folder == path and RunFolder(Path(path)).is_begun() and "config.toml" in files:
            yield Item(path, "a run folder, whose pictures are plots: name images")
            return
        real = os.path.realpath(folder)
        if real in seen or (folder != path and is_output(files)):
            subfolders.clear()
            continue
        seen.add(real)
        for name in sorted(files):
            image = is_image(name) or missing(suffix(name))  # the reader says what is missing
            if image and not name.startswith("."):
                empty = False
                yield Item(os.path.join(folder, name), Path(folder, name))
    for failure in failures:
        yield Item(os.fsdecode(failure.filename or path), f"folder: {failure.strerror}")
    if empty and not failures:
        yield Item(path, f"no image file in this folder ({', '.join(sorted(SUFFIXES))})")


def _from_pack(path: Path) -> Iterator[Item]:
    """All images of a pack, or what is wrong with it."""
    try:
        pack = open_pack(path)
    except MaamError as error:
        yield Item(str(path), str(error))
        return
    for row in range(len(pack.rows["label"])):
        yield Item(pack.name(row), PackedImage(pack, row))


def _from_stdin(stdin: BinaryIO) -> Iterator[Item]:
    head = stdin.read(_HEAD_BYTES)
    if not head:
        yield Item(STDIN, "standard input is empty")
    elif _BINARY.search(head):
        content = head + stdin.read(_MAX_IMAGE_BYTES)
        large = f"more than {_MAX_IMAGE_BYTES:,} bytes on standard input"
        yield Item(STDIN, content if len(content) <= _MAX_IMAGE_BYTES else large)
    else:
        empty = True
        for line in filter(None, _lines(head.removeprefix(b"\xef\xbb\xbf"), stdin)):
            empty = False
            yield from _from_path(os.fsdecode(line))
        if empty:
            yield Item(STDIN, "standard input names no file")


def _lines(head: bytes, rest: BinaryIO) -> Iterator[bytes]:
    """Lines of ``head`` followed by ``rest``, without their ends; endless ones are cut up."""
    *whole, begun = head.split(b"\n")
    whole.append(begun + rest.readline(_MAX_LINE_BYTES))
    for line in itertools.chain(whole, iter(lambda: rest.readline(_MAX_LINE_BYTES), b"")):
        yield line.rstrip(b"\r\n")
