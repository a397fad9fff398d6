"""What a person sees of a network before and after: folded, in integers, pruned."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from maam.cli.console import escape, note, out

if TYPE_CHECKING:  # each verb imports what it needs itself
    from maam.deploy.folding import Costs
    from maam.deploy.int8_report import Int8Report
    from maam.training.prune_report import PruneReport


def folded(run: Path, costs: Costs) -> None:
    """What folding has saved, and where the result lies."""
    from maam.deploy.folding import cost_rows

    _compared("Folded", ("before", "after"), cost_rows(costs))
    name = escape(shlex.quote(str(run)))
    out.print(f"{name} takes the place of the run in:")
    out.print(f"  maam evaluate {name}\n  maam predict {name} IMAGE")


def quantized(report: Int8Report) -> None:
    """What integers have cost and saved."""
    from maam.deploy.int8_report import report_rows, verdict

    title = f"{report.run} in 8-bit integers"
    _compared(title, ("float32", "int8"), report_rows(report))
    out.print(verdict(report))
    for text in report.notes:
        note(text)


def pruned(report: PruneReport) -> None:
    """What fewer channels have cost and saved."""
    from maam.training.prune_report import report_rows, verdict

    _compared(f"{report.run}, pruned", ("before", "after"), report_rows(report))
    out.print(verdict(report))


def _compared(title: str, columns: tuple[str, str], rows: Sequence[tuple[str, str, str]]) -> None:
    """A table of two values by name."""
    table = Table("", title=escape(title), title_justify="left")
    for name in columns:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    out.print(table)
