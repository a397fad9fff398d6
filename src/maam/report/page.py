"""The report of a run as one HTML page: it needs no network, no script and no other file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maam.report import examples, sections
from maam.report.content import Report
from maam.report.html import text
from maam.report.verdict import confusions

# Nothing may be loaded: neither from the net nor from beside the page.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


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
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title>\n<style>\n{style}</style></head>\n<body>\n"
        f"<header><h1>{text(title)}</h1>{sections.subtitle(report)}</header>\n<main>"
        + "\n".join(part for part in parts if part)
        + "</main>\n<footer>Made by maam. This page needs no network and no other file."
        "</footer>\n</body></html>\n"
    )
