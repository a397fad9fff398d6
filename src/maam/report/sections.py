"""The sections of the report: verdict, confusion, classes, data, training, use."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import numpy as np

from maam.report.chart import training_chart
from maam.report.confusion import confused_pairs, confusion_view
from maam.report.content import Report
from maam.report.html import (
    ROWS,
    bar,
    long_table,
    marked,
    paragraph,
    percent,
    properties,
    section,
    text,
    tiles,
)
from maam.report.usage import can_predict, own_rows, python_program
from maam.report.verdict import Confusion, in_words, right_answers


def subtitle(report: Report) -> str:
    """What the network is, in one line."""
    meta = report.meta
    height, width = meta.preprocessing["size"]
    return paragraph(
        f"An image classifier for {len(meta.classes)} classes, {width} x {height} pixels. "
        f"Data: {text(meta.data_source or meta.data)}.",
        "soft",
    )


def verdict(report: Report, confused: Sequence[Confusion]) -> str:
    """How good it is, in sentences, and the main numbers."""
    scores, meta, classes = report.scores, report.meta, report.meta.classes
    images, right = scores["images"], right_answers(scores)
    low, high = scores["accuracy_interval"]
    split = "validation" if (meta.metrics or {}).get("split") == "val" else "test"
    sentences = [
        f"<b>Right on {percent(right / images)} of {images:,} {split} images</b>: "
        f"{in_words(right, images)}."
    ]
    if confused:
        worst = confused[0]
        sentences.append(
            f"Most often <b>{text(classes[worst.true])}</b> is taken for "
            f"<b>{text(classes[worst.answer])}</b>: {worst.count:,} of {worst.images:,} images."
        )
    largest = max(sum(row) for row in scores["confusion"]) / images
    under = (
        f"On other images like these, expect between {percent(low)} and {percent(high)} "
        f"({percent(0.95, 0)} confidence, Wilson's interval). Always naming the largest class "
        f"would be right on {percent(largest)}."
    )
    cautions = []
    if split == "validation":
        cautions.append(
            "There were no test images. The validation images also chose the best epoch, so this "
            "flatters the network."
        )
    cautions += [doubt[:1].upper() + doubt[1:] + "." for doubt in report.doubts]
    box = paragraph(" ".join(sentences)) + paragraph(under, "under")
    box += "".join(paragraph(marked(caution), "under caution") for caution in cautions)
    links = (
        ("confusion", "Confusions"),
        ("classes", "Classes"),
        ("mistakes", "Mistakes"),
        *([("agents", "Agents")] if report.agents else []),
        ("data", "Data"),
        ("training", "Training and cost"),
        ("use", "How to use it"),
    )
    nav = " ".join(f'<a href="#{anchor}">{name}</a>' for anchor, name in links)
    return f'<div class="verdict" id="verdict">{box}</div>{_numbers(report)}<nav>{nav}</nav>'


def confusion(report: Report, confused: Sequence[Confusion]) -> str:
    """What is taken for what."""
    classes = report.meta.classes
    if not confused:
        return section("Confusions", "confusion", paragraph("No image was given a wrong class."))
    view = confusion_view(np.asarray(report.scores["confusion"]), classes, confused)
    pairs = confused_pairs(confused, classes)
    first, second = (view, pairs) if len(classes) <= ROWS else (pairs, view)
    return section(
        "Confusions",
        "confusion",
        paragraph("Each row is a class, each column an answer: blue is right, orange is wrong."),
        f'<div class="beside"><div>{first}</div><div>{second}</div></div>',
    )


def classes(report: Report) -> str:
    """Scores by class, the weakest first; last those that are neither true nor answered."""
    per_class = report.scores["per_class"]
    known = [row for row in per_class if row["f1"] is not None]
    rows = [
        (
            text(row["class"]),
            f"{row['images']:,}",
            percent(row["recall"]) if row["images"] else "-",
            percent(row["precision"]),
            percent(row["f1"]),
            bar(row["f1"]),
        )
        for row in sorted(known, key=lambda row: row["f1"])
    ]
    rows += [(text(row["class"]), "0", "-", "-", "-", "") for row in per_class if row["f1"] is None]
    header = ("Class", "Images", "Recall", "Precision", "F1", "")
    return section(
        "Classes, the weakest first",
        "classes",
        paragraph(
            "Recall: of the images of a class, so many were given it. Precision: of the images "
            "that were given a class, so many are of it. F1 is the harmonic mean of both."
        ),
        long_table(header, rows, "measures", "classes"),
    )


def data(report: Report) -> str:
    """How many images of each class there are in each split."""
    counts, names = report.counts, report.meta.classes
    splits = [split for split, each in counts.items() if sum(each)]
    titles = {"train": "Training", "val": "Validation", "test": "Test"}
    order = list(range(len(names)))
    if len(names) > ROWS:  # the smallest, which may be too small, are seen at once
        order.sort(key=lambda number: counts["train"][number])
    rows = [
        (text(names[number]), *(f"{counts[split][number]:,}" for split in splits))
        for number in order
    ]
    total = ("<b>all</b>", *(f"<b>{sum(counts[split]):,}</b>" for split in splits))
    notes = []
    if report.skipped:
        notes.append(
            paragraph(
                f"{report.skipped:,} files could not be read and were left out; "
                f"<code>maam data</code> names them.",
                "caution",
            )
        )
    header = ("Class", *(titles[split] for split in splits))
    return section("Data", "data", *notes, long_table(header, [total, *rows], "counts", "classes"))


def training(report: Report) -> str:
    """The curves, and what the network costs."""
    meta = report.meta
    charts = [
        training_chart(report.history, "accuracy", "%"),
        training_chart(report.history, "loss", "nats"),
    ]
    deployed, size = meta.deployed or {}, _megabytes(report)
    rows = [
        ("Parameters", f"{_count(meta.parameters)}; {_count(deployed.get('parameters'))} folded"),
        (
            "Multiply-accumulates per image",
            f"{_count(meta.macs)}; {_count(deployed.get('macs'))} folded",
        ),
        *((name, text(value)) for name, value in own_rows(meta)),
        *([("model.onnx", f"{size}, folded")] if size else []),
        *([("On a microcontroller, C in int8", f"{report.footprint}")] if report.footprint else []),
        ("Epochs", _count(meta.epochs)),
        ("Time of training", _duration(meta.seconds)),
        ("Device", text(" ".join(filter(None, (meta.device, meta.device_name))))),
        ("Framework", text({"torch": "PyTorch"}.get(meta.framework, "MindSpore"))),
        ("Calibration error (ECE)", percent(report.scores["ece"])),
        ('Called "unknown"', _unknown(report)),
    ]
    return section(
        "Training and cost",
        "training",
        f'<div class="charts">{"".join(charts)}</div>',
        properties(rows),
        paragraph("README.md beside this page has all options, versions and scores.", "soft"),
    )


def usage(report: Report) -> str:
    """Commands to copy."""
    paths = (report.folder, report.folder / "config.toml")
    run, recipe = (shlex.quote(str(path)) for path in paths)
    predict = "Classify images; needs no training framework"
    commands = [(predict, f"maam predict {run} photo.jpg photos/")] * can_predict(report.meta)
    commands += (
        ()
        if report.meta.own
        else (
            ("See why it answers so", f"maam explain {run} photo.jpg"),
            (
                "Score it on images that it has never seen, a folder for each class",
                f"maam evaluate {run} --data new-photos/ --split all",
            ),
            (
                "Train it once more",
                f"maam train --recipe {recipe}",
            ),
        )
    )
    parts = [f"<h3>{text(what)}</h3><pre>{text(line)}</pre>" for what, line in commands]
    lines = python_program(report.meta, str(report.folder)).splitlines()
    program = "\n".join(text(line) for line in lines)
    return section("How to use it", "use", *parts, f"<h3>From Python</h3><pre>{program}</pre>")


def _numbers(report: Report) -> str:
    scores, meta = report.scores, report.meta
    numbers = (
        (percent(scores["accuracy"]), f"accuracy on {scores['images']:,} images"),
        (percent(scores["balanced_accuracy"]), "balanced accuracy: mean recall"),
        (percent(scores["f1_macro"]), "F1, mean of the classes"),
        (_short(meta.parameters), "parameters"),
        (_short(meta.macs), "multiply-accumulates"),
        (_megabytes(report) or "none", "model.onnx"),
    )
    return tiles(numbers)


def _unknown(report: Report) -> str:
    """Below which probability, and how many of the scored images, which are of known classes."""
    if report.meta.unknown is None:
        return "never: a class is always named"
    return (
        f"below a probability of {percent(report.meta.unknown['threshold'])}: "
        f"{report.unknown:,} of the {report.scores['images']:,} scored images"
    )


def _megabytes(report: Report) -> str:
    """The size of model.onnx; empty without it."""
    return "" if report.model_bytes is None else f"{report.model_bytes / 1e6:.2f} MB"


def _count(value: int | None) -> str:
    return "not recorded" if value is None else f"{value:,}"


def _short(value: int | None) -> str:
    """A large number in three digits."""
    if value is None:
        return "-"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return str(value)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "not recorded"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {left:02d} s"
