"""What a person sees of the verbs: plan, progress, tables. Called by ``cli`` alone."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import markup
from rich.console import Console
from rich.table import Table

from maam.cli.options import spelled
from maam.core.config import PredictConfig
from maam.core.errors import MaamError
from maam.deploy.formats import Prediction, exit_code, printable, render, save

if TYPE_CHECKING:  # each verb imports what it needs itself: a prediction must start at once
    from maam.deploy.exports import Exported
    from maam.training.readiness import Check


NAMED = 5  # how many unreadable files are named


class _Console(Console):
    """A console that goes on in silence when its reader, e.g. ``head``, has had enough."""

    def on_broken_pipe(self) -> None:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, self.file.fileno())
        os.close(silence)


out = _Console(highlight=False, soft_wrap=True, emoji=False)
err = _Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def escape(text: str) -> str:
    """Text for Rich's markup: nothing in it is markup, a line break or a terminal's code."""
    return markup.escape(printable(text))


def error(text: str) -> None:
    """One line on standard error."""
    err.print(f"[bold red]maam:[/] {escape(' '.join(spelled(text).split()))}")


def note(text: str) -> None:
    """A remark on standard error."""
    err.print(f"[dim]{escape(spelled(text))}[/]")


def saved(run: Path) -> None:
    """Where a run lies, and what can be done with it."""
    name = escape(shlex.quote(str(run)))
    out.print(f"\n{name}/report.html tells the whole story. Next:")
    out.print(f"  maam evaluate {name}\n  maam predict {name} IMAGE")


def scores(scores: dict[str, Any], title: str, per_class: bool = False) -> None:
    """The scores of a split, and those of each class if asked for."""
    from maam.report.card import rows_to_show

    table = Table(title=escape(title), show_header=False, title_justify="left")
    table.add_column("score")
    table.add_column("value", justify="right")
    low, high = scores["accuracy_interval"]
    images = f"{low:.2%} to {high:.2%}, {scores['images']:,} images"
    table.add_row("accuracy (95 % interval)", f"{scores['accuracy']:.2%} ({images})")
    names = {
        "balanced_accuracy": "balanced accuracy",
        "top5_accuracy": "top-5 accuracy",
        "f1_macro": "macro F1",
        "precision_macro": "macro precision",
        "recall_macro": "macro recall",
        "ece": "calibration error (ECE)",
    }
    for key, name in names.items():
        if scores[key] is not None:
            table.add_row(name, f"{scores[key]:.2%}")
    table.add_row("loss (cross-entropy)", f"{scores['loss']:.4f}")
    out.print(table)
    counted, known = scores["macro_classes"], len(scores["per_class"])
    if counted < known:
        out.print(f"macro averages are of the {counted} of {known} classes seen here")
    if not per_class:
        return
    classes = [row["class"] for row in scores["per_class"]]
    rows = list(zip(scores["per_class"], scores["confusion"], strict=True))
    shown, title = rows_to_show(scores["per_class"]), "By class"
    if len(shown) < len(rows):
        title = f"The {len(shown)} classes with the lowest F1 of {len(rows):,} (all: --json FILE)"
    table = Table("class", title=title, title_justify="left")
    for name in ("images", "precision", "recall", "F1", "taken for"):
        table.add_column(name, justify="right")
    for index in shown:
        row, counts = rows[index]
        wrong = [(count, other) for other, count in enumerate(counts) if other != index and count]
        worst = f"{classes[max(wrong)[1]]} {max(wrong)[0]}" if wrong else "-"
        measures = (
            "-" if row[key] is None else f"{row[key]:.2%}" for key in ("precision", "recall", "f1")
        )
        table.add_row(escape(row["class"]), f"{row['images']:,}", *measures, escape(worst))
    out.print(table)


def remarks(scores: dict[str, Any]) -> None:
    """What a reader of scores must know of the images that were scored, and that were not."""
    seen, images = scores["seen"], scores["images"]
    if scores["other_copy"]:
        note(f"scored on {scores['data_source']}; the model card has another copy of it")
    if scores["left_out"]:
        note(
            f"{seen:,} of {seen + images:,} images were trained on or validated with and are left "
            "out"
        )
    elif seen and scores["split"] in ("test", "all"):
        note(f"{seen:,} of these {images:,} images were trained on or validated with")
    skipped([(row["file"], row["reason"]) for row in scores["unreadable"]])
    for text in scores["notes"]:
        note(text)


def skipped(unreadable: Sequence[tuple[str, str]]) -> None:
    """The first files that could not be read, and how many more, on standard error."""
    for name, reason in unreadable[:NAMED]:
        err.print(f"[yellow]skipped[/]   {escape(name)}: {escape(reason)}")
    if (more := len(unreadable) - NAMED) > 0:
        err.print(f"[yellow]skipped[/]   and {more:,} more files that can't be read")


@contextmanager
def counted(predictions: Iterator[Prediction]) -> Iterator[Iterable[Prediction]]:
    """The predictions, counted on standard error while they come, where that is a terminal."""
    if not err.is_terminal:
        yield predictions
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.completed:,.0f} images"), TimeElapsedColumn()
    # The answers go to standard output, which Rich would send to the bar's console.
    with Progress(*columns, console=err, transient=True, redirect_stdout=False) as bar:
        yield bar.track(predictions)


def predictions(names: Sequence[str], config: PredictConfig) -> int:
    """Classify files to the screen or a file; 1 if some could not be read."""
    from maam.deploy.prediction import choose_run, predict

    run, files = choose_run(names)
    if not files:
        raise MaamError("no images given: name files, folders or patterns, or - for standard input")
    if files is names:
        note(
            f"{run.path.name} answers, which comes with maam; name a run folder first for your own"
        )
    answers = predict(run.path, files, config.top_k, config.batch_size)
    quiet = config.output is None and sys.stdout.isatty()  # the answers show how far it is
    with nullcontext(answers) if quiet else counted(answers) as predictions:
        if config.output is not None:
            read, failed = save(predictions, config.format, config.output)
        else:
            read, failed = render(predictions, config.format, sys.stdout)
    if failed:
        error(f"{failed} of {read + failed} images could not be read")
    return exit_code(read, failed)


def explanations(names: Sequence[str], folder: Path, top_k: int, framework: str) -> int:
    """Draw where the evidence lies in files, and name their classes; 1 if one was not read."""
    from maam.deploy.explanation import answer, draw, explain
    from maam.deploy.prediction import choose_run

    run, files = choose_run(names)
    if not files:
        raise MaamError("no images given: name files, folders or patterns, or - for standard input")
    failed = read = 0
    for each in explain(run.path, files, top_k, framework):
        if each.error is not None:
            failed += 1
            error(f"{each.file}: {each.error}")
            continue
        read += 1
        named = escape(answer(each))
        out.print(f"{escape(each.file)}: {named}; {escape(str(draw(each, folder)))}")
    return exit_code(read, failed)


def exported(written: Exported) -> None:
    """What an export has written, and its figures."""
    for name, value in written.figures.items():
        out.print(f"  {escape(name):32} {escape(value)}")
    out.print(f"{escape(shlex.quote(str(written.path)))} is written")


def models(pattern: str, channels: int, size: int) -> None:
    """The table of models."""
    from maam.deploy.costs import count_costs, stored_costs
    from maam.models import describe_model, list_models

    names = list_models(pattern)
    if not names:
        raise MaamError(f"no model matches {pattern!r}: see `maam models`")
    costs = stored_costs() if (channels, size) == (3, 32) else {}
    if not all(name in costs for name in names):
        costs = count_costs(names, channels, size)
    table = Table("model", title=f"At {channels}x{size}x{size}, 10 classes", title_justify="left")
    for column in ("parameters", "deployed", "MACs (M)"):
        table.add_column(column, justify="right")
    table.add_column("what it is")
    for name in names:
        cost = costs.get(name)
        if cost is None:  # the images are too small for it
            table.add_row(name, "-", "-", "-", describe_model(name))
            continue
        macs = f"{cost.macs / 1e6:,.1f}"
        counts = (f"{count:,}" for count in (cost.parameters, cost.deployed))
        table.add_row(name, *counts, macs, describe_model(name))
    out.print(table)
    out.print("deployed: parameters once norms and agents are folded; the MACs are of that network")


def checks(checks: Sequence[Check]) -> int:
    """The machine's check-up; 1 if something needed is missing."""
    for check in checks:
        mark = (
            "[green]ok[/]  "
            if check.ok
            else "[red]no[/]  "
            if check.required
            else "[yellow]-[/]   "
        )
        out.print(f"{mark}{check.name:22} {escape(spelled(check.detail))}")
        if not check.ok and check.fix:
            out.print(f"{'':26} {escape(check.fix)}")
    return 1 if any(check.required and not check.ok for check in checks) else 0


def queue(path: Path, runs: Path) -> None:
    """Where the queue for the campaign runner is, and how it trains it."""
    name, folder = (escape(shlex.quote(text)) for text in (f"@{path}", str(runs)))
    out.print(f"{escape(str(path))} lists what PyTorch trains. Next:")
    out.print(f"  python -m maam.training.campaign {name} --out {folder}")


def reproduction_event(kind: str, text: str) -> None:
    """What a reproduction does: a training, a line that it prints, or what went wrong."""
    styles = {"training": "[bold]{}[/]", "skip": "[yellow]left out[/]  {}", "note": "{}"}
    out.print(styles.get(kind, "  {}").format(escape(spelled(text))))


def reproduction(report: dict[str, Any], page: Path) -> int:
    """The verdicts of a reproduction; 1 if trainings are missing."""
    table = Table("the paper claims", title="The paper, reproduced", title_justify="left")
    table.add_column("measured", justify="right")
    table.add_column("verdict")
    for claim in report["claims"]:
        table.add_row(*(escape(claim[key]) for key in ("claim", "measured", "verdict")))
    out.print(table)
    trainings = report["trainings"]
    out.print(f"{trainings['finished']} of {trainings['planned']} trainings are finished")
    out.print(f"{escape(str(page))} tells the whole story")
    return 1 if trainings["finished"] < trainings["planned"] else 0
