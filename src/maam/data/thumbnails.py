"""The pictures behind a split's images, whole and small: for people to look at."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from maam.core.errors import MaamError
from maam.data.files.archives import read_members
from maam.data.files.decoding import UnreadableImage, decode


def thumbnails(names: Sequence[str], side: int) -> dict[str, Image.Image]:
    """The named images as their files have them, upright, in RGB, not cropped.

    Args:
        names: of a split's images: paths of files, or of an archive and below it. Others, such as
            ``train/17``, and what is no longer there, have no picture.
        side: pixels; larger images are scaled down to it.
    """
    pictures: dict[str, Image.Image] = {}
    for name, content in _contents(names):
        try:
            picture = decode(content, name, (side, side))
        except UnreadableImage:
            continue
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        pictures[name] = picture
    return pictures


def name_below(name: str, data: str) -> str:
    """An image's name as it lies in the folder or archive ``data``; any other as it is."""
    return os.path.relpath(name, data) if name.startswith(data.rstrip(os.sep) + os.sep) else name


def seen_part(
    picture: tuple[int, int], network: tuple[int, int]
) -> tuple[float, float, float, float]:
    """What a network sees of a picture, which is cropped to its shape about the centre.

    Args:
        picture: (width, height).
        network: (H, W) of its images.

    Returns:
        Left, top, right, bottom, as parts of the width and height.
    """
    width, height = picture
    wanted = network[1] / network[0]
    across, down = min(1.0, wanted * height / width), min(1.0, width / (wanted * height))
    return (1 - across) / 2, (1 - down) / 2, (1 + across) / 2, (1 + down) / 2


def _contents(names: Sequence[str]) -> Iterator[tuple[str, Path | bytes]]:
    """Each name that is a file, with its path, or in an archive, with its content."""
    archives: dict[Path, dict[str, str]] = {}  # archive -> member -> name
    for name in names:
        path = Path(name)
        if path.is_file():
            yield name, path
        elif archive := next((each for each in path.parents if each.is_file()), None):
            archives.setdefault(archive, {})[path.relative_to(archive).as_posix()] = name
    for archive, members in archives.items():
        try:
            for member, content in read_members(archive, members.__contains__):
                yield members[member], content
        except MaamError:  # it has changed since the training
            continue
