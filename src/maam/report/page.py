"""The report of a run as one HTML page: it needs no network, no script and no other file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maam.report import examples, sections
from maam.report.content import Report
from maam.report.html import document
from maam.report.verdict import confusions


def report_page(report: Report) -> str:
    """The page. Whatever classes and files are called, it shows their names literally."""
    confused = confusions(np.asarray(report.scores["confusion"]))
    title = f"{report.meta.model} on {Path(report.meta.data).name or report.meta.data}"
    parts = [
        sections.verdict(report, confused),
        sections.confusion(report, confused),
        sections.classes(report),
        examples.mistakes(report),
        examples.agents(report),
        sections.data(report),
        sections.training(report),
        sections.usage(report),
    ]
    return document(title, sections.subtitle(report), parts)
