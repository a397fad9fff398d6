"""Which files are the user's: everything below a folder or in an archive, by folder.

Links are followed, to files and to folders. Hidden files, the system's own and what maam has
written, run folders and the pictures of `maam explain`, are left out.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from maam.core.errors import MaamError
from maam.data.files.archives import read_members
from maam.data.files.decoding import SUFFIXES

Folder = tuple[str, ...]  # its path below the listed one, in parts; () is the listed one

MOST_VISITS = 16  # to one folder, on the ways that links open to it
_SYSTEM = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
PICTURES = ".maam"  # a file that marks a folder of pictures as one that maam has drawn

_RUN_MARKS = ({"config.toml", "meta.json"}, {"config.toml", "environment.json"})
_RUNS = "runs"  # where trainings put their run folders


@dataclass(frozen=True)
class Listing:
    """Files by folder.

    Attributes:
        files: every folder -> names of its files. A link that leads nowhere and is not named like
            an image is an empty folder.
        ignored: why images that are left out do not count -> how many.
    """

    files: dict[Folder, list[str]]
    ignored: Counter[str]


def is_image(name: str) -> bool:
    """Whether a file is named like an image of a format that can be read."""
    return suffix(name) in SUFFIXES


def suffix(name: str) -> str:
    """A file's suffix in small letters, ``""`` if it has none."""
    found = os.path.splitext(name)[1].lower()  # Path takes four times as long
    return "" if found == "." else found


def is_output(names: Iterable[str]) -> bool:
    """Whether a folder of these files is a run folder, or holds pictures of `maam explain`."""
    found = set(names)
    return PICTURES in found or any(marks <= found for marks in _RUN_MARKS)


def list_folder(root: Path) -> Listing:
    """List a folder. A folder on the way to itself, by a link, is left out.

    Raises:
        MaamError: a folder can't be listed, or links lead to one over and over.
    """
    found = Listing({}, Counter())
    visits: Counter[tuple[int, int]] = Counter()
    waiting: list[tuple[str, Folder, frozenset[tuple[int, int]]]] = [(str(root), (), frozenset())]
    while waiting:
        path, folder, above = waiting.pop()
        try:
            status = os.stat(path)
            identity = status.st_dev, status.st_ino
            if identity in above:
                found.ignored[f"link to a folder that it lies in ({'/'.join(folder)})"] += 1
                continue
            visits[identity] += 1
            if visits[identity] > MOST_VISITS:
                raise MaamError(f"links in {root} lead to {path} over and over: delete some")
            found.files[folder] = []
            with os.scandir(path) as entries:
                for entry in entries:
                    below = (*folder, entry.name)
                    if _is_folder(entry):
                        if _hidden(entry.name):
                            _count_hidden(found, entry.name, _names(entry.path))
                        else:
                            waiting.append((entry.path, below, above | {identity}))
                    elif _leads_nowhere(entry):
                        found.files[below] = []
                    else:
                        _add(found, folder, entry.name)
        except OSError as error:
            raise MaamError(f"cannot list the folder {path}: {error.strerror}") from None
    return _without_output(found, root)


def list_archive(path: Path) -> Listing:
    """List an archive. Links in it are not followed: one to an image is counted as left out.

    Raises:
        MaamError: as ``archives.read_members``.
    """
    found = Listing({(): []}, Counter())

    def place(name: str, kind: str) -> None:
        *parts, last = PurePosixPath(name).parts or ("",)
        hidden = next((part for part in parts if _hidden(part)), None)
        if hidden:
            _count_hidden(found, hidden, [last])
            return
        if kind == "folder" or (kind == "link" and not is_image(last)):
            parts = [*parts, last] if last and not _hidden(last) else parts
        for depth in range(len(parts) + 1):
            found.files.setdefault(tuple(parts[:depth]), [])
        if kind == "file":
            _add(found, tuple(parts), last)
        elif kind == "link" and is_image(last):
            found.ignored["link in an archive"] += 1

    for _ in read_members(path, lambda name: place(name, "file"), others=place):
        pass  # ``place`` returns None: nothing is read
    return _without_output(found, path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # Of a link that leads to itself, ``DirEntry.is_dir`` raises.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    """Whether it is a broken link that may have led to a folder."""
    named = is_image(entry.name) or _hidden(entry.name)
    return entry.is_symlink() and not named and not os.path.exists(entry.path)


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _hidden(name: str) -> bool:
    """Whether a file or folder is the system's (.DS_Store, __MACOSX) or hidden."""
    return name.startswith(".") or name in _SYSTEM


def _count_hidden(found: Listing, folder: str, names: Iterable[str]) -> None:
    if folder not in _SYSTEM and (count := sum(map(is_image, names))):
        found.ignored[f"in the hidden folder {folder}"] += count


def _add(found: Listing, folder: Folder, name: str) -> None:
    if not _hidden(name) or name == PICTURES:
        found.files[folder].append(name)
    elif is_image(name) and not name.startswith("._"):  # macOS keeps attributes in ._NAME
        found.ignored["hidden file"] += 1


def _without_output(found: Listing, root: Path) -> Listing:
    """Without what maam has written, and without a folder in which that is all there is."""
    runs = {folder for folder, names in found.files.items() if is_output(names)}
    if () in runs:
        what = "holds pictures of `maam explain`"
        if PICTURES not in found.files[()]:
            what = "is the run folder of a training"
        raise MaamError(f"{root} {what}, not a data set: name the images")
    kept = {
        folder: names
        for folder, names in found.files.items()
        if not any(folder[:depth] in runs for depth in range(1, len(folder) + 1))
    }
    holds_images = {
        folder[:depth]
        for folder, names in kept.items()
        if any(map(is_image, names))
        for depth in range(len(folder) + 1)
    }
    above_runs = {folder[:depth] for folder in runs for depth in range(1, len(folder))}
    gone = {
        folder
        for folder in kept
        if folder and folder not in holds_images and (folder in above_runs or folder[-1] == _RUNS)
    }
    return Listing(
        {
            folder: names
            for folder, names in kept.items()
            if not any(folder[:depth] in gone for depth in range(1, len(folder) + 1))
        },
        found.ignored,
    )
