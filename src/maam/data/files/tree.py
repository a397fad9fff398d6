"""What a folder or an archive of images holds, told from names alone.

Two layouts, each also as a ``.tar``, ``.tar.gz``, ``.tgz`` or ``.zip`` archive, and each also
inside one more folder:

    PATH/train/<class>/*.jpg   with val/ and test/ beside train/, or one of them, or neither
    PATH/<class>/*.jpg         the same as a train/ folder that stands alone

Images may lie in folders of their own below a class folder. ``valid`` and ``validation`` mean val,
``training`` and ``testing`` train and test, in capitals or not.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from maam.core.errors import MaamError
from maam.data.files.archives import read_members
from maam.data.files.decoding import SUFFIXES

EXPECTED = "expected PATH/<class>/*.jpg, or PATH/train/<class>/*.jpg with or without val/ and test/"

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_NO_CLASS = "not in a class folder"


class ImageFile(NamedTuple):
    """One image: its path (below the archive's, if in one), member name, split and class."""

    name: str
    member: str
    split: str
    label: str


@dataclass(frozen=True)
class Tree:
    """The images of a folder or archive, none of them decoded yet.

    Attributes:
        path: the folder or archive.
        files: its images, in order of name.
        ignored: why other files do not count -> how many, e.g. ``{"not an image (.txt)": 2}``.
    """

    path: Path
    files: tuple[ImageFile, ...]
    ignored: dict[str, int]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the training images, sorted."""
        return tuple(sorted({file.label for file in self.files if file.split == "train"}))

    def contents(self) -> Iterator[tuple[ImageFile, Path | bytes]]:
        """Every file with its path or, from an archive and in its order, its content."""
        if self.path.is_dir():
            yield from ((file, Path(file.name)) for file in self.files)
            return
        wanted = {file.member: file for file in self.files}
        for member, content in read_members(self.path, wanted.__contains__):
            yield wanted[member], content


def scan(path: Path) -> Tree:
    """List the images below ``path``, with the split and class that their folders say.

    Hidden and system files do not count. Links to files are read, links to folders not followed.

    Raises:
        MaamError: the path is missing or neither a folder nor an archive, holds no images or no
            class folders, has fewer than two classes, or a class without training images.
    """
    names = sorted(name for name in _list(path) if not _hidden(name))
    ignored = Counter(f"not an image ({_suffix(name)})" for name in names if not _is_image(name))
    labels = _label([name for name in names if _is_image(name)])
    files = tuple(
        ImageFile(str(path / member), member, *label) for member, label in labels.items() if label
    )
    if len(labels) > len(files):
        ignored[_NO_CLASS] = len(labels) - len(files)
    tree = Tree(path, files, dict(ignored))
    _check(tree)
    return tree


def _list(path: Path) -> list[str]:
    """Names of all files below ``path``, as a/b/c."""
    if not path.exists():
        raise MaamError(f"{path}: no such folder or archive")
    names: list[str] = []
    if path.is_dir():
        for folder, _, files in os.walk(path, onerror=_refuse):
            names += [(Path(folder) / file).relative_to(path).as_posix() for file in files]
    elif path.is_file() and path.name.lower().endswith(_ARCHIVES):
        for _ in read_members(path, names.append):  # append returns None: nothing is read
            pass
    else:
        raise MaamError(
            f"{path} is neither a folder nor a .tar, .tar.gz, .tgz or .zip archive: {EXPECTED}"
        )
    return names


def _refuse(error: OSError) -> None:
    raise MaamError(f"cannot list the folder {error.filename}: {error.strerror}")


def _hidden(name: str) -> bool:
    """Whether a file is the system's (.DS_Store, __MACOSX/...) and not the user's."""
    parts = name.split("/")
    return parts[-1] in ("Thumbs.db", "desktop.ini") or any(
        part.startswith(".") or part == "__MACOSX" for part in parts
    )


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower() or "no suffix"


def _is_image(name: str) -> bool:
    return _suffix(name) in SUFFIXES


def _label(names: list[str]) -> dict[str, tuple[str, str] | None]:
    """Name -> (split, class), or None for an image that lies in no class folder."""
    parts = _inside_top_folder({name: name.split("/") for name in names})
    folders = {part[0] for part in parts.values() if len(part) > 1}
    split_of = {folder: _SPLITS[folder.lower()] for folder in folders if folder.lower() in _SPLITS}
    # "train" can be a class too, of vehicles say: it then holds images, but no class folders.
    has_train = any(split_of.get(part[0]) == "train" and len(part) > 2 for part in parts.values())
    if split_of and (has_train or len(split_of) == len(folders)):
        return {
            name: (split_of[part[0]], part[1]) if part[0] in split_of and len(part) > 2 else None
            for name, part in parts.items()
        }
    return {name: ("train", part[0]) if len(part) > 1 else None for name, part in parts.items()}


def _inside_top_folder(parts: dict[str, list[str]]) -> dict[str, list[str]]:
    """The parts without a folder that only wraps all the others, as archives often have one."""
    tops = {part[0] for part in parts.values()}
    wrapped = len(tops) == 1 and all(len(part) > 2 for part in parts.values())
    if wrapped and tops.pop().lower() not in _SPLITS:
        return {name: part[1:] for name, part in parts.items()}
    return parts


def _check(tree: Tree) -> None:
    path, classes = tree.path, tree.classes
    if not tree.files and not tree.ignored.get(_NO_CLASS):
        others = ", ".join(f"{count} {why}" for why, count in tree.ignored.items()) or "no files"
        raise MaamError(f"no images in {path} ({others}): {EXPECTED}")
    if not classes:
        raise MaamError(f"{path} holds images, but no class folders to train on: {EXPECTED}")
    for name in classes:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise MaamError(
                f"{path}: the class folder {name!r} has a name that is not UTF-8: rename it"
            ) from None
    for file in tree.files:
        if file.label not in classes:
            raise MaamError(
                f"class {file.label!r} has {file.split} images but no training images in {path} "
                f"({file.member}): add training images of it, or take it out"
            )
    if len(classes) < 2:
        raise MaamError(
            f"only class {tree.files[0].label!r} in {path}, and two are needed: {EXPECTED}"
        )
