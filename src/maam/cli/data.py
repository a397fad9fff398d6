"""``maam data``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.table import Table

import maam
from maam.cli.console import escape, note, out
from maam.cli.display import Display
from maam.cli.options import Flags, Json, check_outputs, given, spelled, write_json
from maam.core.config import DataConfig
from maam.core.signals import deferred, interruptible

if TYPE_CHECKING:
    from maam.data.description import Description
    from maam.training.label_errors import LabelError

REFUSED = 1

_MOST_CLASSES = 40  # a table of more shows the largest and the smallest of them
_ENDS = 5
_MOST_LINES = 10  # of unreadable files, and of doubtful labels


def command(
    source: str,
    /,
    *,
    labels: bool = False,
    html: Path | None = None,
    json_: Json = None,
    config: Annotated[DataConfig | None, Flags] = None,
) -> int:
    """Describe images before training: classes, counts, sizes, unreadable files, duplicates.

    What training would refuse is described too, and what to mend. No file is changed.

    **Examples**

        maam data photos/
        maam data photos/ --labels --html photos.html
        maam data cifar10 --json cifar10.json

    Parameters
    ----------
    source
        cifar10, fashion-mnist, digits, or a folder, .tar or .zip of class folders, or a .csv.
    labels
        Name the images whose label is probably wrong too: needs MindSpore or PyTorch.
    html
        Write a page of all this with pictures to this file too: it needs no other file.
    json_
        Write the description to this file too: all classes, files and pairs.
    """
    check_outputs(json_, html)
    with interruptible(), Display() as display:
        description = maam.describe(
            source, **given(config), progress=display.download, inspected=display.inspected
        )
    doubtful: list[LabelError] | None = None
    if labels and not description.refusals:
        with deferred(), Display() as display:
            doubtful = maam.find_label_errors(source, **given(config), progress=display.inspected)
    elif labels:
        note("labels are looked at when training would take the images")
    if json_ is not None:
        more = {"label_errors": list(map(asdict, doubtful or ()))} if labels else {}
        write_json(json_, description.to_dict() | more)
    if html is not None:
        from maam.training.data_report import write_data_report

        data_dir = config.data_dir if config else None
        write_data_report(html, source, description, doubtful, data_dir)
    show(description, doubtful or ())
    return REFUSED if description.refusals else 0


def show(data: Description, doubtful: Sequence[LabelError] = ()) -> None:
    """What is in a data set, and what to mend before training."""
    out.print(f"[bold]{escape(data.name)}[/]: {escape(data.source)}")
    out.print(class_table(data))
    sizes = data.sizes
    height, width, _ = data.image_shape
    spans = (("smallest", sizes.smallest), ("median", sizes.median), ("largest", sizes.largest))
    span = " ".join(f"{name} {across}x{down}" for name, (across, down) in spans)
    suits = "suits them" if data.suggested_size == height else "is what the network gets"
    out.print(f"sizes       {span} ({sizes.distinct:,} different); {width}x{height} {suits}")
    for name, counts in (("formats", data.formats), ("modes", data.modes)):
        if counts:
            each = ", ".join(f"{escape(key)} {count:,}" for key, count in counts.items())
            out.print(f"{name:11} {each}")
    out.print(f"imbalance   {data.imbalance:.1f} (largest class / smallest)")
    exact, near = data.copies, data.near_copies
    out.print(
        f"identical   {exact.leak_count:,} pairs in two splits, {exact.conflict_count:,} images in "
        f"two classes, {exact.repeats_in_train:,} repeated in train"
    )
    out.print(
        f"look alike  {near.leak_count:,} pairs in two splits, {near.conflict_count:,} in two "
        f"classes, {near.repeat_count:,} in one" + ("" if near.complete else ", or more")
    )
    for name, reason in data.unreadable[:_MOST_LINES]:
        out.print(f"[yellow]unreadable[/]  {escape(name)}: {escape(reason)}")
    if (more := len(data.unreadable) - _MOST_LINES) > 0:
        out.print(f"[yellow]unreadable[/]  and {more:,} more: --json FILE lists them")
    for each in doubtful[:_MOST_LINES]:
        out.print(
            f"[yellow]label[/]       {escape(each.name)}: {escape(each.label)} "
            f"({each.probability:.0%}), looks like {escape(each.suggestion)} "
            f"({each.suggestion_probability:.0%})"
        )
    if (more := len(doubtful) - _MOST_LINES) > 0:
        out.print(f"[yellow]label[/]       and {more:,} more: --json FILE lists them")
    for line in data.advice:
        out.print(f"[yellow]advice[/]      {escape(spelled(line))}")
    for line in data.refusals:
        out.print(f"[red]refused[/]     {escape(spelled(line))}")
    if data.refusals:
        out.print("[red]training would refuse these images: mend what is refused first[/]")
    elif data.advice or doubtful:
        out.print("training would take these images")
    else:
        out.print("[green]nothing stands out: ready to train[/]")


def class_table(data: Description) -> Table:
    """Images by class and split; of many classes the largest and the smallest in training."""
    table = Table("class")
    for split in data.counts:
        table.add_column(split, justify="right")
    names = list(data.classes)
    if hidden := max(0, len(names) - _MOST_CLASSES):
        hidden = len(names) - 2 * _ENDS
        names.sort(key=lambda name: -data.counts["train"][name])
    for place, name in enumerate(names):
        if not hidden or place < _ENDS or place >= len(names) - _ENDS:
            table.add_row(escape(name), *(f"{counts[name]:,}" for counts in data.counts.values()))
        elif place == _ENDS:
            table.add_row(f"({hidden:,} more classes)")
    table.add_section()
    total = f"all {len(names):,} classes" if hidden else "all"
    table.add_row(total, *(f"{sum(counts.values()):,}" for counts in data.counts.values()))
    return table
