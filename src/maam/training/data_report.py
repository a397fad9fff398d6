"""The page on a data set: its description and doubtful labels, with pictures of what they name."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from maam.core.files import write_atomic
from maam.data import SOURCES, load_dataset
from maam.data.description import Description
from maam.data.duplicates import Sample
from maam.data.thumbnails import name_below, thumbnails
from maam.report.data_content import DataReport, Finding, Shown
from maam.report.data_page import data_page
from maam.report.pictures import crisp
from maam.training.label_errors import LabelError
from maam.training.planning import MODELS

SIDE = 144  # pixels of a picture
SMALL = 64  # of one of a class
GROUPS = 24  # of a finding, that are shown
EXAMPLES = 320  # images of classes, of all together; at least one of each


def write_data_report(
    path: Path,
    data: str,
    description: Description,
    label_errors: Sequence[LabelError] | None = None,
    data_dir: Path | None = None,
) -> None:
    """Write a page on a data set: one HTML file that needs no other.

    Args:
        path: of the page.
        data, data_dir: as for ``describe``.
        description: of the data set.
        label_errors: from ``find_label_errors``; None if they were not looked for.

    Raises:
        MaamError: the page cannot be written.
    """
    kinds = list(_kinds(description, label_errors or ()))
    each = max(1, EXAMPLES // max(1, len(description.classes)))
    examples = {label: names[:each] for label, names in description.examples.items()}
    names = {name for kind in kinds for group in kind.groups for name, _ in group}
    pictures = _pictures(data, data_dir, names.union(*examples.values()))

    def shown(name: str, what: str, side: int = SIDE) -> Shown:
        picture = pictures.get(name)
        if picture is not None and max(picture.size) > side:
            picture = picture.copy()
            picture.thumbnail((side, side))
        return Shown(name_below(name, data), what, picture)

    report = DataReport(
        name=description.name,
        source=description.source,
        counts=description.counts,
        examples={
            label: [shown(name, label, SMALL) for name in some] for label, some in examples.items()
        },
        numbers=_numbers(description),
        properties=_properties(description),
        findings=[
            Finding(*kind[:4], [[shown(*each) for each in group] for group in kind.groups])
            for kind in kinds
        ],
        unreadable=[(name_below(name, data), why) for name, why in description.unreadable],
        refusals=description.refusals,
        advice=description.advice,
        commands=_commands(data, description, label_errors is not None),
    )
    write_atomic(path, data_page(report))


class _Kind(NamedTuple):
    """A ``Finding`` whose images are only named: (name, what it is), side by side in groups."""

    anchor: str
    title: str
    meaning: str
    count: int
    groups: Sequence[Sequence[tuple[str, str]]]


def _kinds(data: Description, label_errors: Sequence[LabelError]) -> Iterator[_Kind]:
    """All that a person should look at, the most serious first."""
    exact, near = data.copies, data.near_copies
    leaks = "Training would learn what it is scored on, so the scores would flatter. Keep one."
    yield _Kind(
        "conflicts",
        "The same image in two classes",
        "One of the labels is wrong. Delete that copy.",
        exact.conflict_count,
        _groups(exact.conflicts),
    )
    yield _Kind(
        "labels",
        "Labels that are probably wrong",
        "Other images of the class look different, and those of another class alike. Where the "
        "label is wrong, move the file to its class; some are right, and only unusual.",
        len(label_errors),
        [
            [
                (
                    each.name,
                    f"{each.label} ({each.probability:.0%}), {each.split}; looks like "
                    f"{each.suggestion} ({each.suggestion_probability:.0%})",
                )
            ]
            for each in label_errors[:GROUPS]
        ],
    )
    yield _Kind(
        "leaks", "The same image in two splits", leaks, exact.leak_count, _groups(exact.leaks)
    )
    yield _Kind(
        "near-conflicts",
        "Images that look the same, in two classes",
        "One of the labels may be wrong.",
        near.conflict_count,
        _groups(near.conflicts),
    )
    yield _Kind(
        "near-leaks",
        "Images that look the same, in two splits",
        leaks,
        near.leak_count,
        _groups(near.leaks),
    )
    yield _Kind(
        "near-repeats",
        "Images that look the same, in one class",
        "They do no harm, and add little.",
        near.repeat_count,
        _groups(near.repeats),
    )
    for kind, images in data.outliers.items():
        title, meaning = _OUTLIERS[kind]
        yield _Kind(
            kind.replace(" ", "-"),
            title,
            f"{meaning} Can a person tell the class? If not, delete the file.",
            images.count,
            _groups([[sample] for sample in images.listed]),
        )


_OUTLIERS = {
    "one colour": ("Images of one colour", "There is nothing to see on them."),
    "dark": ("Dark images", "They are much darker than the others."),
    "bright": ("Bright images", "They are much brighter than the others."),
    "blurred": ("Blurred images", "They are much less sharp than the others."),
}


def _groups(groups: Sequence[Sequence[Sample]]) -> list[list[tuple[str, str]]]:
    return [
        [(sample.name, f"{sample.label}, {sample.split}") for sample in group]
        for group in groups[:GROUPS]
    ]


def _pictures(data: str, data_dir: Path | None, names: Iterable[str]) -> dict[str, Image.Image]:
    """Of a data set with a name, what the network sees; else what the files hold."""
    if data not in SOURCES:
        return thumbnails(sorted(names), SIDE)
    images = load_dataset(data, data_dir).all
    wanted = set(names)
    return {
        name: crisp(pixels, SIDE)
        for name, pixels in zip(images.names, images.pixels(), strict=True)
        if name in wanted
    }


def _numbers(data: Description) -> list[tuple[str, str]]:
    height, width, _ = data.image_shape
    across, down = data.sizes.median
    totals = [sum(counts.values()) for counts in data.counts.values()]
    return [
        (f"{sum(totals):,}", "images"),
        (f"{len(data.classes):,}", "classes"),
        (f"{across} x {down}", "pixels, typical image"),
        (f"{width} x {height}", "pixels, to train at"),
        (f"{data.imbalance:.1f}", "largest class to smallest"),
    ]


def _properties(data: Description) -> list[tuple[str, str]]:
    sizes, size = data.sizes, data.suggested_size
    spans = (("smallest", sizes.smallest), ("median", sizes.median), ("largest", sizes.largest))
    rows = [(f"Size, {name}", f"{across} x {down} pixels") for name, (across, down) in spans]
    rows.append(("Different sizes", f"{sizes.distinct:,}"))
    if size:
        why = f"half of the images have {sizes.short_side} pixels or more on their shorter side"
        rows.append(("Size that suits them", f"{size} x {size} pixels: {why}"))
    for name, counts in (("Formats", data.formats), ("Modes", data.modes)):
        if counts:
            rows.append((name, ", ".join(f"{key} {count:,}" for key, count in counts.items())))
    rows += [("Not used", f"{count:,} {why}") for why, count in data.ignored.items()]
    return rows


def _commands(data: str, description: Description, with_labels: bool) -> list[tuple[str, str]]:
    """What to do next, and the command line for it."""
    source, size = shlex.quote(data), description.suggested_size
    again = ("When that is mended, look again", f"maam data {source} --html data.html")
    if description.refusals:
        return [again]
    model, small = MODELS
    fit = f" --image-size {size}" if size else ""
    commands = [
        *([again] if description.advice else []),
        (
            "Train within ten minutes: the model and all options are chosen for these images",
            f"maam train {source} --minutes 10",
        ),
        (
            f"Choose yourself: {model} begins with weights that know photos; {small} is smaller "
            "and faster",
            f"maam train {source} --model {model} --pretrained{fit}",
        ),
    ]
    if not with_labels:
        name = "Find labels that are probably wrong"
        commands.append((name, f"maam data {source} --labels --html data.html"))
    return commands
