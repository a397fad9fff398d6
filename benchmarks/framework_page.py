"""results/framework_speed.json and step_profile.json -> the tables of docs/speed.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from framework_forms import FORMS, SHIPPED

from maam.core.files import write_atomic

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"


def table(report: Mapping[str, Any]) -> str:
    """Times of a training step, a row a form, a column a model and batch; and our ratios."""
    rows = [row for row in report["rows"] if row["what"] == "training step"]
    cases = list(dict.fromkeys((row["model"], row["batch"]) for row in rows))
    times = {(row["form"], row["model"], row["batch"]): row.get("ms") for row in rows}
    lines = [["Training step, ms", *(f"`{model}`, batch {batch}" for model, batch in cases)]]
    for form in (form for form in FORMS if any(row["form"] == form for row in rows)):
        cells = [_number(times.get((form, *case))) for case in cases]
        label = FORMS[form].label
        lines.append([f"**{label}**" if form == SHIPPED else label, *cells])
    verdicts = {(row["model"], row["batch"]): row for row in report["verdicts"]}
    for key, rival in (("vs_torch_eager", "PyTorch eager fp32"), ("vs_torch_compile", "compiled")):
        ratios = [verdicts[case][key] for case in cases]
        cells = [f"**{ratio:.2f} x**" if ratio else "-" for ratio in ratios]
        lines.append([f"**as shipped, against {rival}**", *cells])
    return markdown(lines)


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table: the first line is its head, the first column is text."""
    rule = ["---", *["---:"] * (len(lines[0]) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def write(name: str, text: str, file: Path = PAGE) -> None:
    """Put a table between the marks of its name on a page."""
    page = file.read_text(encoding="utf-8")
    start, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
    before, rest = page.split(start)
    _, after = rest.split(end)
    write_atomic(file, before + start + text + end + after)


def _number(ms: float | None) -> str:
    if ms is None:
        return "-"
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}"
