"""What training would refuse in a folder of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from maam.data.files.tree import ImageFile, Tree
from maam.data.sources.folder import needed


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
    if len(classes) == 1:
        yield f"there is only class {listed(classes)}, and two are needed: add another folder"
    if strange := [label for label in classes if not _is_utf8(label)]:
        yield f"class folders whose name is not UTF-8: {listed(strange)}; rename them"
    if other := sorted({file.label for file in tree.files} - set(classes)):
        yield (
            f"no training images of {listed(other)}, but val or test images: add training images, "
            "or take these classes out"
        )
    counts = Counter(file.label for file in files if file.split == "train")
    least = needed(tree)
    few = [label for label in classes if counts[label] < least]
    if tree.empty:
        places = [f"{name} ({held})" for name, held in tree.empty.items()]
        more = f" and {len(places) - 5} more folders" if len(places) > 5 else ""
        yield f"no images in {', '.join(places[:5])}{more}: put images in, or delete them"
    if few:
        yield (
            f"too few readable training images of {listed(few, counts)}: {least} or more "
            "are needed for the train and test splits; add images, or take these classes out"
        )
    left = {file.label for file, split in zip(files, splits, strict=True) if split == "train"}
    if lost := [label for label in classes if label not in left and label not in few]:
        yield (
            f"`val_fraction={val_fraction}` leaves no training images of {listed(lost)}: hold out "
            "less"
        )


def listed(labels: Sequence[str], counts: Counter[str] | None = None, most: int = 5) -> str:
    """Class names for a sentence, the first of many, with their counts if given."""
    more = f" and {len(labels) - most} more classes" if len(labels) > most else ""
    names = (
        repr(label) + (f" ({counts[label]})" if counts is not None else "")
        for label in labels[:most]
    )
    return ", ".join(names) + more


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
