"""What a folder, an archive or a table of images holds, told from names alone.

``layout`` says which folders mean what, ``listing`` which files count, ``table`` how a CSV file
names images. Archives are ``.tar``, ``.tar.gz``, ``.tgz``, ``.tar.bz2``, ``.tar.xz`` and ``.zip``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from maam.core.errors import MaamError
from maam.data.files import table
from maam.data.files.archives import read_members
from maam.data.files.decoding import missing
from maam.data.files.layout import understand
from maam.data.files.listing import Folder, Listing, is_image, list_archive, list_folder, suffix
from maam.data.files.packs import PACK_INDEX, is_pack, lacks_index

EXPECTED = (
    "expected PATH/<class>/*.jpg, or PATH/train/<class>/*.jpg with or without val/ and test/, or a "
    "CSV file of file and label"
)

NO_LABEL = "(no class)"

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_NO_IMAGE = "not an image"
HELD_BYTES = 64 * 2**20  # of an archive's files that wait to be decoded


class ImageFile(NamedTuple):
    """One image: its path (below the archive's, if in one), member name, split and class."""

    name: str
    member: str
    split: str
    label: str


@dataclass(frozen=True)
class Tree:
    """The images of a folder, an archive or a table, none of them decoded yet.

    Attributes:
        path: the folder, archive or table.
        files: its images, in order of name.
        ignored: why other files do not count -> how many, e.g. ``{"not an image (.txt)": 2}``.
        empty: folders for a class or a split that hold no image -> what they hold.
        remark: how folders were understood, where that is not plain.
    """

    path: Path
    files: tuple[ImageFile, ...]
    ignored: dict[str, int]
    empty: dict[str, str] = field(default_factory=dict)
    remark: str = ""

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The classes of the training images, sorted."""
        return tuple(sorted({file.label for file in self.files if file.split == "train"}))

    @property
    def notes(self) -> list[str]:
        """What is not used, and how folders were understood where that is not plain."""
        unused = f"files that are not used: {_others(self)}" if self.ignored else ""
        return [note for note in (unused, self.remark) if note]

    @property
    def empty_notes(self) -> list[str]:
        """The folders for a class or a split that hold no image."""
        return [f"no images in {name} ({held})" for name, held in self.empty.items()]

    @property
    def is_archive(self) -> bool:
        """Whether the files are members of an archive."""
        return _is_archive(self.path)

    def contents(self) -> Iterator[tuple[ImageFile, Path | bytes]]:
        """Every file with its path or, from an archive and in its order, its content.

        Of what an archive holds several times, the first counts.
        """
        if not self.is_archive:
            yield from ((file, Path(file.name)) for file in self.files)
            return
        wanted = {file.member: file for file in self.files}
        for member, content in read_members(self.path, wanted.__contains__):
            yield wanted.pop(member), content

    def batches(self, most: int) -> Iterator[list[tuple[ImageFile, Path | bytes]]]:
        """``contents`` in lists of at most so many files; their bytes are in memory."""
        batch, held = [], 0
        for file, content in self.contents():
            batch.append((file, content))
            held += len(content) if isinstance(content, bytes) else 0
            if len(batch) == most or held >= HELD_BYTES:
                yield batch
                batch, held = [], 0
        if batch:
            yield batch

    def check_no_empty(self) -> None:
        """Check that every folder for a class or a split has an image.

        Raises:
            MaamError: one has not.
        """
        for name, held in self.empty.items():
            more = f" ({len(self.empty)} such folders)" if len(self.empty) > 1 else ""
            raise MaamError(f"no images in {name} ({held}): put images in, or delete it{more}")


def scan(path: Path) -> Tree:
    """List the images of a folder, an archive or a table, to train on.

    Raises:
        MaamError: as ``list_images``; or there are no class folders, fewer than two classes, or a
            class without training images.
    """
    tree = list_images(path)
    _check(tree)
    return tree


def list_images(path: Path) -> Tree:
    """List the images of a folder, an archive or a table, with their split and class.

    Hidden and system files and run folders do not count. Links are followed, not in archives.

    Raises:
        MaamError: the path is missing, a pack or none of these, holds no images, or can be
            understood in two ways.
    """
    if not path.exists():
        raise MaamError(f"{path}: no such folder or archive")
    if is_pack(path):
        raise MaamError(f"{path} is a pack to train and to score on: name the images themselves")
    if path.is_dir():
        tree = _understood(path, list_folder(path))
    elif path.is_file() and _is_archive(path):
        tree = _understood(path, list_archive(path))
    elif path.is_file() and path.name.lower().endswith(table.SUFFIX):
        rows = sorted(table.read_table(path))
        tree = Tree(path, tuple(ImageFile(str(path.parent / r.file), *r) for r in rows), {})
    else:
        raise MaamError(
            f"{path} is neither a folder nor a {', '.join(_ARCHIVES)} or {table.SUFFIX} file: "
            f"{EXPECTED}"
        )
    if not tree.files and lacks_index(path):
        raise MaamError(
            f"{path} is a pack without its {PACK_INDEX}: copy the whole pack, or pack the images "
            "anew"
        )
    if not tree.files and all(why.startswith(_NO_IMAGE) for why in tree.ignored):
        raise MaamError(f"no images in {path} ({_others(tree)}): {EXPECTED}")
    return tree


def list_unlabelled(path: Path) -> Tree:
    """List all images of a folder or an archive under one class, ``NO_LABEL``, to describe them.

    Raises:
        MaamError: it can't be read.
    """
    listing = list_folder(path) if path.is_dir() else list_archive(path)
    names = {
        "/".join((*folder, name))
        for folder, listed in listing.files.items()
        for name in listed
        if is_image(name)
    }
    files = (ImageFile(str(path / name), name, "train", NO_LABEL) for name in sorted(names))
    return Tree(path, tuple(files), dict(listing.ignored))


def _others(tree: Tree) -> str:
    return ", ".join(f"{count} {why}" for why, count in tree.ignored.items()) or "no files"


def _is_archive(path: Path) -> bool:
    return path.name.lower().endswith(_ARCHIVES) and not path.is_dir()


def _understood(path: Path, listing: Listing) -> Tree:
    images = {
        folder: sorted({name for name in names if is_image(name)})
        for folder, names in listing.files.items()
    }
    layout = understand(
        path, {folder: len(names) for folder, names in images.items() if names}, images
    )
    members: dict[str, tuple[str, str]] = {}
    unused: Counter[str] = Counter()
    below: dict[Folder, str] = {}
    for folder, names in images.items():
        place = layout.place(folder)
        if isinstance(place, str):
            unused[place] += len(names)
        else:
            members |= {"/".join((*folder, name)): place for name in names}
            if names and folder not in layout.classes:
                below[folder] = place[1]
    others = Counter(
        f"{_NO_IMAGE} ({_kind(name)})"
        for folder in sorted(listing.files)
        for name in sorted(listing.files[folder])
        if not is_image(name)
    )
    return Tree(
        path,
        tuple(ImageFile(str(path / name), name, *members[name]) for name in sorted(members)),
        dict(others + unused + listing.ignored),
        {str(path.joinpath(*folder)): _held(folder, listing.files) for folder in layout.empty},
        _remark(below),
    )


def _remark(below: Mapping[Folder, str]) -> str:
    """What to say of folders below class folders; they have images, and here their class."""
    if not below:
        return ""
    first = min(below)
    more = f" (one of {len(below):,} such folders)" if len(below) > 1 else ""
    where = f"{'/'.join(first)}{more} is of class {below[first]!r}"
    return f"folders below a class folder mean nothing: {where}"


def _held(folder: Folder, files: Mapping[Folder, list[str]]) -> str:
    """What there is in a folder without images."""
    names = [
        name for each, found in files.items() if each[: len(folder)] == folder for name in found
    ]
    kinds = Counter(map(_kind, names))
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3)) or "no files"


def _kind(name: str) -> str:
    """A file's suffix and, where that would do, what to install to read it."""
    needed = missing(suffix(name))
    return (suffix(name) or "no suffix") + (f": {needed}" if needed else "")


def _check(tree: Tree) -> None:
    path, classes = tree.path, tree.classes
    if not classes:
        besides = f" ({_others(tree)})" if tree.ignored else ""
        raise MaamError(
            f"{path} holds images, but no class folders to train on{besides}: {EXPECTED}"
        )
    for name in classes:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise MaamError(
                f"{path}: the class folder {name!r} has a name that is not UTF-8: rename it"
            ) from None
    for file in tree.files:
        if file.label not in classes:
            near = get_close_matches(file.label.lower(), map(str.lower, classes), n=1)
            alike = [f"; is it {name!r}?" for name in classes if name.lower() in near]
            raise MaamError(
                f"class {file.label!r} has {file.split} images but no training images in {path} "
                f"({file.member}): add training images of it, or take it out{''.join(alike[:1])}"
            )
    if len(classes) < 2:
        tree.check_no_empty()
        understood = f"; {tree.remark}" if tree.remark else ""
        raise MaamError(
            f"only class {tree.files[0].label!r} in {path}, and two are needed{understood}: "
            f"{EXPECTED}"
        )
