"""The page on a data set: what is in it, and what to mend before training."""

from __future__ import annotations

from collections.abc import Sequence

from maam.report.data_content import DataReport, Finding, Shown
from maam.report.html import (
    ROWS,
    document,
    long_table,
    marked,
    paragraph,
    picture,
    properties,
    section,
    text,
    tiles,
)

_TITLES = {"train": "Training", "val": "Validation", "test": "Test"}


def data_page(report: DataReport) -> str:
    """The page. Whatever classes and files are called, it shows their names literally."""
    found = [finding for finding in report.findings if finding.count]
    parts = [
        _verdict(report, found),
        _to_mend(report),
        _classes(report),
        *(_finding(finding) for finding in found),
        _unreadable(report),
        _properties(report),
        _next(report),
    ]
    return document(report.name, paragraph(f"Images to train on: {text(report.source)}."), parts)


def _verdict(report: DataReport, found: Sequence[Finding]) -> str:
    """Whether one may train on it, in a sentence, and the main numbers."""
    images = sum(sum(counts.values()) for counts in report.counts.values())
    held = f"{images:,} images of {len(report.examples):,} classes"
    things = len(report.refusals), len(report.advice)
    if report.refusals:
        box = f"<b>Training would refuse these {held}</b>: {_things(things[0])} to be mended first."
    elif report.advice or found:
        box = f"<b>Training would take these {held}</b>, but look at what stands out first."
    else:
        box = f"<b>Ready to train</b>: {held}, and nothing stands out."
    links = [
        *([("mend", "What to mend")] if any(things) else []),
        ("classes", "Classes"),
        *((finding.anchor, finding.title) for finding in found),
        *([("unreadable", "Unreadable files")] if report.unreadable else []),
        ("properties", "Sizes and formats"),
        ("next", "What next"),
    ]
    nav = " ".join(f'<a href="#{anchor}">{text(name)}</a>' for anchor, name in links)
    return (
        f'<div class="verdict" id="verdict">{paragraph(box)}</div>'
        f"{tiles(report.numbers)}<nav>{nav}</nav>"
    )


def _things(count: int) -> str:
    return "one thing has" if count == 1 else f"{count} things have"


def _to_mend(report: DataReport) -> str:
    lines = [f'<li class="caution">Refused: {marked(each)}</li>' for each in report.refusals]
    lines += [f"<li>{marked(each)}</li>" for each in report.advice]
    return section("What to mend", "mend", f"<ul>{''.join(lines)}</ul>") if lines else ""


def _classes(report: DataReport) -> str:
    """How many images of each class there are in each split, and what they look like."""
    counts = report.counts
    splits = [split for split, each in counts.items() if any(each.values())]
    names = list(report.examples)
    if len(names) > ROWS:  # the smallest, which may be too small, are seen at once
        names.sort(key=lambda name: counts["train"][name])
    rows = [
        (
            text(name),
            *(f"{counts[split][name]:,}" for split in splits),
            f'<span class="strip">{"".join(map(_thumbnail, report.examples[name]))}</span>',
        )
        for name in names
    ]
    total = (
        "<b>all</b>",
        *(f"<b>{sum(counts[split].values()):,}</b>" for split in splits),
        "",
    )
    header = ("Class", *(_TITLES[split] for split in splits), "Some of its images")
    table = long_table(header, [total, *rows], "counts samples", "classes")
    return section("Classes", "classes", table)


def _thumbnail(shown: Shown) -> str:
    return "" if shown.picture is None else picture(shown.picture, shown.name)


def _finding(finding: Finding) -> str:
    words = finding.meaning
    shown = len(finding.groups)
    if shown < finding.count:
        words += f" Here are the first {shown:,} of {finding.count:,}."
    kind = "groups" if any(len(group) > 1 for group in finding.groups) else "groups single"
    groups = "".join(
        f'<div class="group">{"".join(map(_figure, group))}</div>' for group in finding.groups
    )
    return section(
        f"{finding.title}: {finding.count:,}",
        finding.anchor,
        paragraph(text(words)),
        f'<div class="{kind}">{groups}</div>',
    )


def _figure(shown: Shown) -> str:
    image = _thumbnail(shown) or '<div class="absent">no picture</div>'
    return (
        f"<figure>{image}<figcaption><b>{text(shown.what)}</b><br>{text(shown.name)}"
        "</figcaption></figure>"
    )


def _unreadable(report: DataReport) -> str:
    if not report.unreadable:
        return ""
    rows = [(text(name), text(reason)) for name, reason in report.unreadable]
    words = "Training leaves these files out. Repair or delete them."
    return section(
        f"Unreadable files: {len(rows):,}",
        "unreadable",
        paragraph(words),
        long_table(("File", "Why"), rows, "files", "files"),
    )


def _properties(report: DataReport) -> str:
    rows = [(name, text(value)) for name, value in report.properties]
    return section("Sizes and formats", "properties", properties(rows))


def _next(report: DataReport) -> str:
    parts = [
        f"<h3>{text(purpose)}</h3><pre>{text(line)}</pre>" for purpose, line in report.commands
    ]
    return section("What next", "next", *parts)
