"""The sections of a reproduction's page, each from the report to Markdown paragraphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt

from maam.paper import study
from maam.paper.claims import (
    NAMES,
    PAPER,
    Report,
    circumstances,
    percent,
    plus_minus,
    printed,
    tables_of,
)
from maam.paper.collect import METRICS, Spread, select, spread
from maam.paper.plan import COLLAPSE, COLLAPSED, TABLE_1
from maam.report import markdown_table
from maam.variants import describe_model

AS_USUAL = "the usual options"
COLLAPSE_BELOW = 0.35  # Table 2's ablations end between 25 and 32 %


def scores(report: Report, models: Sequence[str]) -> str:
    """A table of the paper: one line a model and score, in %."""
    rows = []
    for model in models:
        runs = tables_of(report, model)
        for metric in METRICS:
            paper, found = PAPER[model][metric], None
            if runs:
                found = spread([run[metric] for run in runs])
            rows.append(
                (
                    NAMES[model] if metric == "accuracy" else "",
                    f"`{model}`" if metric == "accuracy" else "",
                    metric if metric != "f1" else "F1",
                    printed(paper),
                    plus_minus(found) if found else "-",
                    percent(found.mean - paper, signed=True) if found else "-",
                    str(found.count) if found else "0",
                )
            )
    header = ("Row", "Model", "Score", "Paper %", "Measured %", "Difference", "Runs")
    lines = [f"- {NAMES[m]} (`{m}`): {describe_model(m)}" for m in models]
    return markdown_table(header, rows) + "\n\nWhat was trained:\n\n" + "\n".join(lines)


def losses(report: Report, name: str) -> Iterator[str]:
    trained = [model for model in TABLE_1 if tables_of(report, model)]
    yield f"![Training loss by epoch]({name}/loss.png)"
    curves = [tables_of(report, model)[0]["loss"] for model in trained]
    longest = max(map(len, curves), default=0)
    shown = sorted({1, 2, 3, 5, 10, longest} & set(range(1, longest + 1)))
    yield "Training loss in nats (first seed) after epoch"
    yield markdown_table(
        ("Model", *map(str, shown)),
        (
            (
                NAMES[model],
                *(f"{curve[epoch - 1]:.3f}" if epoch <= len(curve) else "-" for epoch in shown),
            )
            for model, curve in zip(trained, curves, strict=True)
        ),
    )


def inference(report: Report) -> Iterator[str]:
    costs = report["inference"]
    yield (
        f"ONNX Runtime {report['environment']['onnxruntime']} on one thread of "
        f"{report['environment']['cpu']}, one image at a time: median and quartiles of 5 rounds, "
        "in turns. Memory is what loading and running the model adds to the peak of a process."
    )
    yield markdown_table(
        ("Model", "Parameters", "MACs (M)", "File (MiB)", "Latency (ms)", "Memory (MiB)"),
        (
            (
                f"`{model}`",
                f"{run['parameters']:,}",
                f"{run['macs'] / 1e6:,.1f}",
                f"{cost['size_mib']:.2f}",
                f"{cost['latency_ms']:.3f} ({', '.join(_quartiles(cost))})",
                f"{cost['memory_mib']:.1f}",
            )
            for model, cost in costs.items()
            for run in tables_of(report, model)[:1]
        ),
    )


def _quartiles(cost: dict) -> list[str]:
    return [f"{value:.3f}" for value in cost["latency_quartiles_ms"]]


def frameworks(report: Report) -> Iterator[str]:
    (twin, *_), ours = select(report["runs"], part="twin") or [None], None
    if twin is not None:
        ours = tables_of(report, twin["model"])
    if not ours or twin is None:
        yield "Not trained in both frameworks yet."
        return
    theirs = select(report["runs"], part="twin")
    found = [spread([run["accuracy"] for run in runs]) for runs in (ours, theirs)]
    yield markdown_table(
        ("Model", "Accuracy %", "Trained"),
        (
            (f"`{twin['model']}`", plus_minus(accuracy), circumstances(runs))
            for accuracy, runs in zip(found, (ours, theirs), strict=True)
        ),
    )
    gap, noise = abs(found[0].mean - found[1].mean), _error(found)
    if noise is None:
        yield "One seed each shows no noise between seeds to compare with."
        return
    agree = "agree within" if gap <= 2 * noise else "**differ by more than**"
    yield (
        f"The means differ by {percent(gap)} points, and two standard errors of that difference "
        f"are {percent(2 * noise)} points: the frameworks {agree} the noise between seeds."
    )


def _error(found: Sequence[Spread]) -> float | None:
    """The standard error of the difference of two means; None without deviations."""
    total = 0.0
    for accuracy in found:
        if accuracy.deviation is None:
            return None
        total += accuracy.deviation**2 / accuracy.count
    return sqrt(total)


def parts(report: Report) -> Iterator[str]:
    found = study.accuracies(report)
    if not found:
        yield "Not trained yet."
        return
    first = study.runs_of(report, next(iter(found)))[0]
    yield (
        f"Equal budgets: {first['epochs']} epochs on {first['images']:,} images, the same cosine "
        "schedule; accuracy on 5,000 training images held out for this, so that no choice rests "
        f"on the test images. {first['machine']}."
    )
    base = found.get(study.BASE)
    yield markdown_table(
        ("Model", "What it is", "Parameters", "MACs (M)", "Runs", "Accuracy %", "Against `maam`"),
        (
            (
                f"`{model}`",
                describe_model(model),
                f"{run['parameters']:,}",
                f"{run['macs'] / 1e6:,.1f}",
                str(accuracy.count),
                plus_minus(accuracy),
                percent(accuracy.mean - base.mean, signed=True) if base else "-",
            )
            for model, accuracy in found.items()
            for run in study.runs_of(report, model)[:1]
        ),
    )
    noise = study.noise(report)
    if noise is None:
        return
    yield (
        f"The standard deviation between seeds, pooled over these models, is {percent(noise)} "
        "points. What does each part gain? A gain of more than two standard errors counts."
    )
    yield markdown_table(
        ("Does this help?", "Gain (points)", "Standard error", "Verdict"),
        (
            (
                answer.question,
                percent(answer.gain, signed=True),
                percent(answer.error),
                f"**{answer.verdict}**",
            )
            for answer in study.answers(report)
        ),
    )


def scalars(report: Report, name: str) -> Iterator[str]:
    runs = [
        run
        for part in ("tables", "study")
        for run in select(report["runs"], part=part)
        if run["agent_weights"][-1]
    ]
    if not runs:
        yield "Not trained yet."
        return
    yield (
        "Softmax weights of the agents after the last epoch; they begin equal. Agents of one shape "
        "are interchangeable, so only agents of different shapes can show a preference that "
        "repeats."
    )
    yield markdown_table(
        ("Model", "Epochs", "Seed", "Weights"),
        (
            (
                f"`{run['model']}`",
                str(run["epochs"]),
                str(run["seed"]),
                ", ".join(f"{weight:.3f}" for weight in run["agent_weights"][-1][0]),
            )
            for run in runs
        ),
    )
    if tables_of(report, "maam"):
        yield f"![Weights of the agents by epoch]({name}/agent_weights.png)"


def collapse(report: Report) -> Iterator[str]:
    """Whether a poor training brings the ablations to where the paper has them."""
    usual = {model: tables_of(report, model) for model in COLLAPSED}
    cells = {
        (AS_USUAL if part == "study" else run["setting"], run["model"]): run["accuracy"]
        for part in ("study", "collapse")
        for run in reversed(select(report["runs"], part=part))  # of two seeds the first stays
        if run["model"] in COLLAPSED
    }
    if not cells or not all(usual.values()):
        yield "Not trained yet."
        return
    low = {key: accuracy for key, accuracy in cells.items() if accuracy < COLLAPSE_BELOW}
    trained = ", ".join(
        f"{NAMES[model]} {percent(spread([run['accuracy'] for run in runs]).mean)} %"
        for model, runs in usual.items()
    )
    listed = "; ".join(
        f"{NAMES[model]} with {setting}: {percent(accuracy)} %"
        for (setting, model), accuracy in low.items()
    )
    claimed = ", ".join(printed(PAPER[model]["accuracy"]) for model in COLLAPSED)
    yield (
        f"Trained as the full model is, the ablations reach {trained}, where the paper has "
        f"{claimed} %. Of {len(cells)} trainings of one epoch, most of them deliberately poor, "
        f"{len(low) or 'none'} end below {100 * COLLAPSE_BELOW:.0f} %{': ' if low else ''}{listed}."
    )
    yield markdown_table(
        ("One epoch with", *(f"{NAMES[model]} %" for model in COLLAPSED)),
        (
            (
                setting,
                *(
                    percent(cells[setting, model]) if (setting, model) in cells else "-"
                    for model in COLLAPSED
                ),
            )
            for setting in (AS_USUAL, *COLLAPSE)
        ),
    )


def where(report: Report) -> Iterator[str]:
    rows: dict[tuple[str, ...], list[float]] = {}
    for run in report["runs"]:
        key = (f"`{run['model']}`", run["part"], run["machine"], str(run["epochs"]))
        rows.setdefault((*key, f"{run['images']:,}"), []).append(run["seconds"])
    yield markdown_table(
        ("Model", "For", "Where", "Epochs", "Images", "Runs", "Minutes a run"),
        (
            (*key, str(len(seconds)), f"{sum(seconds) / len(seconds) / 60:.1f}")
            for key, seconds in rows.items()
        ),
    )
    yield (
        "Minutes are the clock's, other work on the machine included, and no benchmark: that is "
        "what `results/framework_speed.json` is for."
    )
