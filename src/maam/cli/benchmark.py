"""``maam benchmark``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import maam
from maam.cli import console
from maam.cli.options import Json, check_files, check_outputs, given, write_json
from maam.core.benchmark_config import BenchmarkConfig
from maam.core.files import write_atomic
from maam.core.frameworks import require
from maam.core.signals import deferred
from maam.report import runtimes

if TYPE_CHECKING:
    from maam.deploy.benchmarking import BenchmarkReport

Flags = Parameter(name="*", consume_multiple=True)


def command(
    *models: Annotated[str, Parameter(allow_leading_hyphen=True)],
    json_: Json = None,
    csv: Path | None = None,
    plot: Path | None = None,
    config: Annotated[BenchmarkConfig | None, Flags] = None,
) -> int:
    """Measure models on this machine: latency, throughput, memory, load time, accuracy.

    Each measurement is taken in a process of its own, and all take turns, round after round. The
    last lines say which form of each model is the fastest here. Close other programs first.

    **Examples**

        maam benchmark
        maam benchmark runs/photos --threads 1 2 --csv photos.csv
        maam benchmark maamnet-nano maamnet-tiny --runtimes onnx onnx-int8 c-int8 --data cifar10
        maam benchmark maamnet-nano --mlperf-tiny --json mlperf.json

    Parameters
    ----------
    models
        Run folders, models that come with their weights, or ONNX files; all those models if none
        is named.
    json_
        Write all that was measured to this file too.
    csv
        Write a line for each measurement to this file too.
    plot
        Draw accuracy against latency, as a PNG. Needs Matplotlib.
    """
    check_files(models, "benchmark")
    check_outputs(json_)
    check_outputs(csv, over=(".csv",))
    check_outputs(plot, over=(".png",))
    if plot is not None:
        require("--plot", "torch", "matplotlib")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    hidden = not console.err.is_terminal
    bar = Progress(*columns, console=console.err, transient=True, disable=hidden)
    with deferred(), bar:
        task = bar.add_task("", total=None)

        def told(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=console.escape(what))

        report = maam.benchmark(*models, progress=told, **given(config))
    rows = [row.to_dict() for row in report.rows]
    if json_ is not None:
        write_json(json_, report.to_dict())
    if csv is not None:
        write_atomic(csv, runtimes.csv_text(rows))
    _print(report, rows)
    if plot is not None:
        from maam.report.runtime_plot import accuracy_plot

        accuracy_plot(rows, report.environment["cpu"], plot)
    return 0


def _print(report: BenchmarkReport, rows: Sequence[runtimes.Row]) -> None:
    """A table for each model, what was left out, and what is recommended."""
    strict = bool(report.rules)
    header = runtimes.STRICT_HEADER if strict else runtimes.HEADER
    groups = runtimes.by_model(rows)
    for group in groups.values():
        heading = console.escape(runtimes.title(group))
        table = Table(header[0], title=heading, title_justify="left", box=SIMPLE_HEAD)
        table.padding, table.pad_edge = (0, 0), False
        for name in header[1:]:
            table.add_column(name, justify="right")
        for line in (runtimes.strict_lines if strict else runtimes.lines)(group):
            table.add_row(*map(console.escape, line))
        console.out.print(table)
    console.out.print(
        f"{report.rounds} rounds in turns, at least {report.seconds:g} s each, on "
        f"{console.escape(report.environment['cpu'])}"
    )
    if report.data_source:
        number = f"{rows[0]['images']:,} images of " if len(groups) == 1 else ""
        console.out.print(f"accuracy: {number}{console.escape(report.data_source)}")
    for heading, texts in report.rules.items():
        console.out.print(f"MLPerf Tiny's rules, {heading.replace('_', ' ')}:")
        for text in texts:
            console.out.print(f"  {console.escape(text)}")
    for each in report.skipped:
        where = f"{each.model}: {each.runtime}" if each.model else each.runtime
        console.note(f"not measured: {where}: {each.reason}")
    for group in groups.values():
        console.out.print(console.escape(runtimes.recommendation(group)))
