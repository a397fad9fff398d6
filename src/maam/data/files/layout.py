"""Which folders are splits and which are classes, told from where the images lie.

    PATH/train/<class>/...      val/ and test/ beside train/, or one of them, or neither
    PATH/<class>/...            the same as a train/ that stands alone
    PATH/<class>/..., PATH/test/<class>/...
    PATH/<class>/train/...      splits inside the classes

Each may lie in folders that only wrap it. ``valid`` and ``validation`` mean val, ``training`` and
``testing`` train and test, in capitals or not. Such a word may be a part of the name, as in
``seg_train`` and ``test-images``, where all folders have one or two of them have a class in common.
A split may lie once more in a folder of its own name (``seg_train/seg_train/<class>``). Other
folders below a class folder mean nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from maam.core.errors import MaamError, listed
from maam.data.files.listing import Folder

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
NO_CLASS = "not in a class folder"


@dataclass(frozen=True)
class Layout:
    """What the folders of a data set mean.

    Attributes:
        classes: class folder -> its split and class.
        unused: folder -> why its images do not count.
        empty: folders for training images, or for a split, that have no image at or below them.
    """

    classes: Mapping[Folder, tuple[str, str]]
    unused: Mapping[Folder, str]
    empty: tuple[Folder, ...]

    def place(self, folder: Folder) -> tuple[str, str] | str:
        """Split and class of the images in a folder, or why they have none."""
        for depth in range(len(folder) + 1):
            if found := self.classes.get(folder[:depth]) or self.unused.get(folder[:depth]):
                return found
        return NO_CLASS


def understand(path: Path, counts: Mapping[Folder, int], folders: Iterable[Folder]) -> Layout:
    """Tell splits and classes.

    Args:
        path: for messages.
        counts: folder -> how many images lie directly in it, of the folders that have any.
        folders: all folders.

    Raises:
        MaamError: folders can be understood in two ways.
    """
    return _Folders(path, counts, folders).layout()


def split_of(name: str) -> str | None:
    """The split that a folder's name says, as a word of its own or together with others."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    said = {SPLITS.get(word.lower().removesuffix("set")) for word in words} - {None}
    return said.pop() if len(said) == 1 else None


class _Folders:
    """The folders that have images at or below them."""

    def __init__(self, path: Path, counts: Mapping[Folder, int], folders: Iterable[Folder]) -> None:
        self.path, self.counts = path, counts
        self.below: dict[Folder, set[str]] = defaultdict(set)  # names of the folders in a folder
        self.all: dict[Folder, set[str]] = defaultdict(set)  # with those that have no images
        for names, given in ((self.below, counts), (self.all, folders)):
            for folder in given:
                for depth in range(len(folder)):
                    names[folder[:depth]].add(folder[depth])
        self.base = self._base()
        self.tops = sorted(self.below[self.base])

    def layout(self) -> Layout:
        """The first layout that fits."""
        if splits := self._splits():
            return self._of_splits(splits)
        if self._inverted():
            classes = {
                (*self.base, top, inner): (SPLITS[inner.lower()], top)
                for top in self.tops
                for inner in self.below[(*self.base, top)]
            }
            return Layout(classes, {}, self._empty([self.base]))
        return self._of_classes()

    def _base(self) -> Folder:
        """The folder whose folders mean something: the others only wrap it."""
        base: Folder = ()
        while len(self.below[base]) == 1:
            (top,) = self.below[base]
            inner = (*base, top)
            if top.lower() in SPLITS or self.counts.get(inner) or not self.below[inner]:
                break
            base = inner
        return base

    def _root(self, top: str) -> Folder:
        """The folder whose folders are the classes of a split: ``top``, or one more inside."""
        root = (*self.base, top)
        while len(self.below[root]) == 1:
            (inner,) = self.below[root]
            if inner.lower() != root[-1].lower() and (
                split_of(inner) is None or split_of(inner) != split_of(root[-1])
            ):
                break
            root = (*root, inner)
        return root

    def _classes(self, top: str) -> set[str]:
        return self.below[self._root(top)]

    def _splits(self) -> dict[str, str]:
        """The folders that are splits -> which; none where all folders are classes."""
        said = {top: split for top in self.tops if (split := split_of(top))}
        whole = {top: split for top, split in said.items() if top.lower() in SPLITS}
        train = [top for top in said if said[top] == "train" and self._classes(top)]
        # "train" can be a class too, of vehicles say: it then holds images, but no class folders.
        if (train and len(said) == len(self.tops) > 1) or (whole and len(whole) == len(self.tops)):
            splits = said
        else:
            shared = self._sharing(train, said)
            if not (shared or whole.keys() & train):
                return {}
            splits = {**whole, **{top: said[top] for top in shared}}
        for split in ("train", "val", "test"):
            if len(same := [top for top in splits if splits[top] == split]) > 1:
                raise MaamError(
                    f"{self._name(same[0])} and {self._name(same[1])} both say that they hold the "
                    f"{split} images: put them together, or move one away"
                )
        return splits

    def _sharing(self, train: list[str], said: Mapping[str, str]) -> set[str]:
        """The folders that say train, and the others that say a split and have a class of it."""
        other = [top for top in said if said[top] != "train"]
        pairs = [
            (one, two) for one in train for two in other if self._classes(one) & self._classes(two)
        ]
        return {top for pair in pairs for top in pair}

    def _of_splits(self, splits: dict[str, str]) -> Layout:
        others = [top for top in self.tops if top not in splits]
        train = [top for top in splits if splits[top] == "train"]
        classes = {name for top in train for name in self._classes(top)}
        # Beside train/ alone, or with the same folders in it, another may well be a class.
        doubtful = [
            top
            for top in others
            if split_of(top) is None and (len(splits) == 1 or self._classes(top) & classes)
        ]
        if train and doubtful:
            raise MaamError(
                f"{self._name(train[0])} was understood as the training images of "
                f"{listed(sorted(classes))}, but there are images in {listed(sorted(doubtful))} "
                f"beside it: move these away, or rename {train[0]} if it is a class"
            )
        unused = {(*self.base, top): f"in {top}, which is no split" for top in others}
        for top in splits:
            if not self._classes(top):
                unused[(*self.base, top)] = f"in {top}, which has no class folders"
        roots = {self._root(top): split for top, split in splits.items()}
        empty = self._empty(root for root, split in roots.items() if split == "train")
        return Layout(self._below(roots), unused, (*empty, *self._empty_splits()))

    def _inverted(self) -> bool:
        inner = [self.below[(*self.base, top)] for top in self.tops]
        named = all(names and all(name.lower() in SPLITS for name in names) for names in inner)
        direct = any(self.counts.get((*self.base, top)) for top in self.tops)
        has_train = any(SPLITS.get(name.lower()) == "train" for names in inner for name in names)
        return len(self.tops) > 1 and named and has_train and not direct

    def _of_classes(self) -> Layout:
        held_out = {top for top in self.tops if SPLITS.get(top.lower()) in ("val", "test")}
        classes = set(self.tops) - held_out
        if len(classes) < 2:  # such as "test" and "control"
            held_out, classes = set(), set(self.tops)
        held_out |= {
            top
            for top in classes
            if split_of(top) in ("val", "test") and _within(self._classes(top), classes - {top})
        }
        classes -= held_out
        for top in sorted(classes):
            inside = {SPLITS.get(name.lower()) for name in self._classes(top)}
            if "train" in inside and len(inside) > 1 + (None in inside):
                raise MaamError(
                    f"{self._name(top)} has folders for splits inside, but not every folder beside "
                    "it has: give each class the same ones"
                )
            if len(again := self._classes(top) & classes) > 1:
                raise MaamError(
                    f"{self._name(top)} has folders of the same names as those beside it, "
                    f"{listed(sorted(again))}: which ones are the classes? Name one folder of "
                    "class folders, or move the others away"
                )
        roots = {self._root(top): split_of(top) or "" for top in held_out if self._classes(top)}
        unused = {
            (*self.base, top): f"in {top}, which has no class folders; rename it if it is a class"
            for top in held_out
            if not self._classes(top)
        }
        found = {(*self.base, top): ("train", top) for top in classes}
        return Layout({**found, **self._below(roots)}, unused, self._empty([self.base]))

    def _below(self, roots: Mapping[Folder, str]) -> dict[Folder, tuple[str, str]]:
        return {
            (*root, name): (split, name)
            for root, split in roots.items()
            for name in self.below[root]
        }

    def _empty(self, roots: Iterable[Folder]) -> tuple[Folder, ...]:
        """The folders directly in ``roots`` that have no image at or below them."""
        return tuple(
            (*root, name) for root in roots for name in sorted(self.all[root] - self.below[root])
        )

    def _empty_splits(self) -> tuple[Folder, ...]:
        return tuple(each for each in self._empty([self.base]) if each[-1].lower() in SPLITS)

    def _name(self, top: str) -> Path:
        return self.path.joinpath(*self.base, top)


def _within(names: Collection[str], others: Collection[str]) -> bool:
    return bool(names) and set(names) <= set(others)
