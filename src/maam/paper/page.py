"""A reproduction's report -> Markdown and HTML."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator
from pathlib import Path

from maam.core.files import make_folder, write_atomic
from maam.paper import sections, study_sections
from maam.paper.claim import FAILS, HOLDS, PARTLY, PENDING, UNTESTED
from maam.paper.plan import PROTOCOL, TABLE_1, TABLE_2
from maam.paper.runs import Report
from maam.paper.training_claims import TOLERANCE
from maam.report.markdown import markdown_table

HEADLINES = ("maam", "margin", "parameters", "attention", "speed")


def write(report: Report, folder: Path, name: str) -> Path:
    """Write ``name.md``, ``name.html``, which holds its plots, and the plots beside them.

    Returns:
        The Markdown file.

    Raises:
        MaamError: a file can't be written.
    """
    from markdown_it import MarkdownIt

    from maam.paper import figures

    plots = folder / name
    make_folder(plots)
    figures.losses(report, plots / "loss.png")
    figures.scalars(report, plots / "agent_weights.png")
    text = markdown(report, name)
    write_atomic(folder / f"{name}.md", text)
    body = MarkdownIt("commonmark").enable("table").render(text)
    write_atomic(folder / f"{name}.html", _html(body, folder))
    return folder / f"{name}.md"


def markdown(report: Report, name: str = "reproduction") -> str:
    """The whole page. ``name`` is the folder of its plots."""
    parts = [
        "# The paper's tables and figure, beside what we measure",
        *_introduction(report),
        "## Outcome",
        outcome(report),
        "## Every claim",
        *_claims(report),
        "## Table 1: models",
        *sections.scores(report, TABLE_1),
        *sections.consistency(report),
        "## Table 2: ablations",
        *sections.scores(report, TABLE_2),
        "## Figure 2: training loss",
        *sections.losses(report, name),
        "## What inference costs",
        *sections.inference(report),
    ]
    if report["scope"] == "full":
        parts += [
            "## MindSpore and PyTorch",
            *study_sections.frameworks(report),
            "## Which parts of MAAM earn their place?",
            *study_sections.parts(report),
            "## What the scalars learn",
            *study_sections.scalars(report, name),
            "## Can the ablations collapse?",
            *study_sections.collapse(report),
        ]
    return "\n\n".join([*parts, "## Where it was run", *sections.where(report)]) + "\n"


def outcome(report: Report) -> str:
    """The claims that matter most, in five lines."""
    claims = {claim["key"]: claim for claim in report["claims"]}
    return markdown_table(
        ("The paper claims", "Paper", "Measured", "Difference", "Verdict"),
        (_cells(claims[key]) for key in HEADLINES),
    )


def _cells(claim: dict[str, str]) -> tuple[str, ...]:
    figures = (claim[key] for key in ("claim", "paper", "measured", "difference"))
    return (*figures, f"**{claim['verdict']}**")


def _introduction(report: Report) -> Iterator[str]:
    trainings = report["trainings"]
    planned, finished = trainings["planned"], trainings["finished"]
    if report["scope"] == "quick":
        yield (
            "**A quick run on a part of the data: it shows that everything works, and says "
            "nothing about accuracies.** `maam reproduce --full` does."
        )
    yield (
        f"Written by `{report['command']}`; {finished} of {planned} planned trainings are "
        f"finished. Images: {report['data']}. The paper's pipeline: padding by "
        f"4 pixels, random crop and flip, pixels in [0, 1], batches of {PROTOCOL['batch_size']}. "
        "It names no optimiser, learning rate, schedule or number of epochs: ours are "
        f"{PROTOCOL['optimizer']}, {PROTOCOL['learning_rate']:g}, {PROTOCOL['schedule']}, and the "
        "epochs stated. Accuracies are of the 10,000 test images after the last epoch, "
        "mean ± standard deviation over seeds where there are several. The agents are those of "
        "preset `p2` ([the paper](paper.md)), unless another is named."
    )
    yield from sections.problems(report)


def _claims(report: Report) -> Iterator[str]:
    claims = report["claims"]
    counts = ", ".join(
        f"{verdict}: {sum(claim['verdict'] == verdict for claim in claims)}"
        for verdict in (HOLDS, PARTLY, FAILS, UNTESTED, PENDING)
    )
    yield (
        f"{counts}. An accuracy holds when ours is within {100 * TOLERANCE:.0f} points of the "
        "paper's; MAAM's own may be higher."
    )
    yield markdown_table(
        ("Claim", "Where", "Paper", "Measured", "Difference", "Verdict", "Evidence"),
        (
            (claim["claim"], claim["where"], *_cells(claim)[1:], claim["evidence"])
            for claim in claims
        ),
    )


def _html(body: str, folder: Path) -> str:
    """A page of its own: its plots are inside."""

    def inline(match: re.Match[str]) -> str:
        path = folder / html.unescape(match[1])
        if not path.exists():
            return match[0]
        return f'src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"'

    body = re.sub(r'src="([^":]+\.png)"', inline, body)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>MAAM: the paper beside what we measure</title>\n"
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;display:block;overflow-x:auto;font-size:.9rem}"
    "th,td{border:1px solid #ccc;padding:.3rem .6rem;text-align:left;vertical-align:top}"
    "th{background:#f3f3f3}img{max-width:100%}code{background:#f3f3f3;padding:0 .2em}"
)
