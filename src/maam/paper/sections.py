"""The sections of a reproduction's page, each from the report to Markdown paragraphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from maam.models.registry import describe_model
from maam.paper import published
from maam.paper.plan import TABLE_1
from maam.paper.published import NAMES
from maam.paper.runs import METRICS, Report, select, spread, tables_of
from maam.paper.training_claims import mean_losses
from maam.paper.words import percent, plus_minus, printed
from maam.report.markdown import markdown_table, plain

SHOWN = 10  # of the trainings that are missing


def scores(report: Report, models: Sequence[str]) -> Iterator[str]:
    """A table of the paper: one line a model and score, in %."""
    rows = []
    for model in models:
        runs = tables_of(report, model)
        for metric in METRICS:
            paper, measured, difference = published.SCORES[model][metric], "-", "-"
            if runs:
                measurement = spread([run[metric] for run in runs])
                measured, difference = (
                    plus_minus(measurement),
                    percent(measurement.mean - paper, signed=True),
                )
            first = metric == "accuracy"
            rows.append(
                (
                    NAMES[model] if first else "",
                    f"`{model}`" if first else "",
                    "F1" if metric == "f1" else metric,
                    printed(paper),
                    measured,
                    difference,
                    str(len(runs)),
                )
            )
    header = ("Row", "Model", "Score", "Paper %", "Measured %", "Difference", "Runs")
    yield markdown_table(header, rows)
    yield "What was trained (the paper gives no sizes of the opponents; these are ours):"
    yield "\n".join(f"- {NAMES[model]} (`{model}`): {describe_model(model)}" for model in models)


def consistency(report: Report) -> Iterator[str]:
    """A remark on scores that contradict each other."""
    published_gap = max(abs(row["accuracy"] - row["recall"]) for row in published.SCORES.values())
    gaps = [abs(run["accuracy"] - run["recall"]) for run in select(report["runs"], part="tables")]
    yield (
        "With 1,000 test images a class, the macro recall is the accuracy by definition. In the "
        f"paper's rows the two differ by up to {printed(published_gap)} points, in ours by "
        f"{percent(max(gaps, default=0))}; and its MLP has a precision of 59.6 beside a recall of "
        "49.0."
    )


def losses(report: Report, name: str) -> Iterator[str]:
    """Figure 2: the plot, and its figures."""
    curves = {model: mean_losses(report, model) for model in TABLE_1 if tables_of(report, model)}
    if not curves:
        yield "Not trained yet."
        return
    yield f"![Training loss by epoch]({name}/loss.png)"
    longest = max(map(len, curves.values()))
    shown = sorted({1, 2, 3, 5, 10, longest} & set(range(1, longest + 1)))
    yield "Training loss in nats, mean of all runs, after epoch"
    yield markdown_table(
        ("Model", *map(str, shown)),
        (
            (
                NAMES[model],
                *(f"{curve[epoch - 1]:.3f}" if epoch <= len(curve) else "-" for epoch in shown),
            )
            for model, curve in curves.items()
        ),
    )


def inference(report: Report) -> Iterator[str]:
    """Size, latency and memory of the tables' models."""
    costs = report["inference"]
    yield (
        f"ONNX Runtime {report['environment']['onnxruntime']} on one thread of "
        f"{report['environment']['cpu']}, one image at a time: median and quartiles of 5 rounds, "
        "in turns. Memory is what loading and running the model adds to the peak of a process. "
        "Parameters and multiply-accumulates (MACs) are counted before folding."
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


def problems(report: Report) -> Iterator[str]:
    """The trainings that are missing, some by name."""
    missing = [f"- `{name}`: {plain(text)}" for name, text in report["problems"].items()]
    if missing:
        more = [f"- and {len(missing) - SHOWN} more"] if len(missing) > SHOWN else []
        yield "\n".join(["Missing:\n", *missing[:SHOWN], *more])


def where(report: Report) -> Iterator[str]:
    """What was trained on which machine."""
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
        "Minutes are the clock's, an upper bound, and no benchmark: that is "
        "what `results/framework_speed.json` is for."
    )
