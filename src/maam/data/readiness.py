"""What training would refuse in a folder of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from maam.core.errors import listed
from maam.data.files.tree import EXPECTED, NO_LABEL, ImageFile, Tree
from maam.data.sources.folder import needed, too_many


def refusals(
    tree: Tree, files: Sequence[ImageFile], splits: Sequence[str], val_fraction: float
) -> Iterator[str]:
    """Why training would refuse these images, and what to do; nothing if it would not.

    Args:
        tree: what the folder or archive holds.
        files: those of its images that can be read.
        splits: of ``files``, from ``folder.assign_splits``.
        val_fraction: as for it.
    """
    classes = tree.classes
    if classes == (NO_LABEL,):
        yield f"no class folders: {EXPECTED}"
        return
    if len(classes) == 1:
        yield f"there is only class {classes[0]!r}, and two are needed: add another folder"
    if strange := [label for label in classes if not _is_utf8(label)]:
        yield f"class folders whose name is not UTF-8: {listed(quoted(strange))}; rename them"
    if other := sorted({file.label for file in tree.files} - set(classes)):
        yield (
            f"no training images of {listed(quoted(other))}, but val or test images: add training "
            "images, or take these classes out"
        )
    counts = Counter(file.label for file in files if file.split == "train")
    least = needed(tree)
    few = [label for label in classes if counts[label] < least]
    if tree.empty:
        places = [f"{name} ({held})" for name, held in tree.empty.items()]
        yield f"no images in {listed(places)}: put images in, or delete them"
    if few:
        counted = [f"{label!r} ({counts[label]})" for label in few]
        yield (
            f"too few readable training images of {listed(counted)}: {least} or more "
            "are needed for the train and test splits; add images, or take these classes out"
        )
    if what := too_many(len(tree.files) - len(files), len(tree.files)):
        yield f"{what}: get them again or move them away"
    left = {file.label for file, split in zip(files, splits, strict=True) if split == "train"}
    if lost := [label for label in classes if label not in left and label not in few]:
        yield (
            f"`val_fraction={val_fraction}` leaves no training images of {listed(quoted(lost))}: "
            "hold out less"
        )


def quoted(names: Sequence[str]) -> list[str]:
    """Names as Python writes them."""
    return list(map(repr, names))


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
