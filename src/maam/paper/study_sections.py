"""Sections that ask further than the paper: both frameworks, each part's worth, collapse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from maam.models.registry import describe_model
from maam.paper import published, study
from maam.paper.plan import AGREEING, COLLAPSE, TABLE_2
from maam.paper.published import NAMES
from maam.paper.runs import Report, accuracy_of, select, spread, tables_of
from maam.paper.words import circumstances, counted, machines, percent, plus_minus, printed
from maam.report.markdown import markdown_table

# Table 2's ablations end at 25.5 to 32.0 %; chance is 10 %.
COLLAPSED = (0.2, 0.35)
CLOSE = 0.02  # two frameworks agree when the interval of their difference is within this


def frameworks(report: Report) -> Iterator[str]:
    """Whether MindSpore and PyTorch reach the same accuracy."""
    twins = {
        model: (tables_of(report, model), select(report["runs"], part="twin", model=model))
        for model in AGREEING
    }
    both = {model: pair for model, pair in twins.items() if all(pair)}
    if not both:
        yield "Not trained in both frameworks yet."
        return
    yield markdown_table(
        ("Model", "Accuracy %", "Loss after the last epoch", "Trained"),
        (
            (
                f"`{model}`",
                plus_minus(spread([run["accuracy"] for run in runs])),
                f"{spread([run['loss'][-1] for run in runs]).mean:.4f}",
                circumstances(runs),
            )
            for model, pair in both.items()
            for runs in pair
        ),
    )
    for model, pair in both.items():
        yield _agreement(model, *([run["accuracy"] for run in runs] for runs in pair))


def _agreement(model: str, one: Sequence[float], other: Sequence[float]) -> str:
    """Whether the accuracies over seeds come from one distribution, as far as they can tell."""
    from scipy.stats import ttest_ind

    if min(len(one), len(other)) < 2:
        return f"`{model}`: one seed shows no noise between seeds to compare with."
    gap = spread(one).mean - spread(other).mean
    low, high = ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    if not low <= 0 <= high:
        verdict = "the two **differ** by more than the noise between seeds"
    elif max(-low, high) <= CLOSE:
        verdict = (
            f"the two **agree**: the interval holds 0 and stays within {printed(CLOSE)} points"
        )
    else:
        verdict = "seeds differ so much that agreement is **not shown**"
    return (
        f"`{model}`: the means differ by {percent(gap, signed=True)} points, with a 95 % interval "
        f"of {percent(low, signed=True)} to {percent(high, signed=True)} (Welch's t-test): "
        f"{verdict}."
    )


def parts(report: Report) -> Iterator[str]:
    """The study: what each part of MAAM is worth."""
    scored = study.accuracies(report)
    if not scored:
        yield "Not trained yet."
        return
    runs = [run for model in scored for run in study.runs_of(report, model)]
    yield (
        f"Equal, short budgets: {counted(runs[0]['epochs'], 'epoch')} on {runs[0]['images']:,} "
        "images, the same cosine schedule; accuracy after the last epoch on 5,000 training images "
        f"held out for this, so that no choice rests on the test images. {machines(runs)}."
    )
    base = scored.get(study.BASE)
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
            for model, accuracy in scored.items()
            for run in study.runs_of(report, model)[:1]
        ),
    )
    noise, answers = study.noise(report), study.answers(report)
    if noise is None or not answers:
        return
    yield (
        f"The standard deviation between seeds, pooled over these models, is {percent(noise)} "
        "points. A gain of more than two standard errors counts; of so many questions, one may be "
        "answered wrongly by chance. And a short training favours what learns fast: fusion "
        "weights, which begin equal, have little time to differ."
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
            for answer in answers
        ),
    )


def scalars(report: Report, name: str) -> Iterator[str]:
    """The weights that the agents got."""
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
    """Whether a poor training brings the ablations, and only them, to where the paper has them."""
    runs = select(report["runs"], part="collapse")
    ablations = TABLE_2[1:]
    if not runs or not all(tables_of(report, model) for model in ablations):
        yield "Not trained yet."
        return
    cells = {(run["setting"], run["model"]): run["accuracy"] for run in runs}
    trained = ", ".join(
        f"{NAMES[model]} {percent(accuracy_of(report, model).mean)} % (paper "
        f"{printed(published.accuracy(model))})"
        for model in ablations
    )
    low, high = COLLAPSED
    hits = [key for key, accuracy in cells.items() if low <= accuracy <= high and key[1] != "maam"]
    alone = [(setting, model) for setting, model in hits if cells.get((setting, "maam"), 0) > high]
    span = f"{100 * low:.0f} to {100 * high:.0f} %"
    listed = "; ".join(
        f"{NAMES[model]} with {setting} ({percent(cells[setting, model])} %)"
        for setting, model in hits
    )
    yield (
        f"Trained as the whole model is, the ablations do not collapse: {trained}. Of "
        f"{sum(model != 'maam' for _, model in cells)} short trainings of an ablation, "
        f"most with a setting that harms, {len(hits) or 'none'} end at {span}"
        f"{f', namely {listed}' if hits else ''}; the whole model survives the same setting in "
        f"{len(alone) or 'none'} of these."
    )
    yield markdown_table(
        ("One epoch, with", *(f"{NAMES[model]} %" for model in TABLE_2)),
        (
            (
                setting,
                *(
                    percent(cells[setting, model]) if (setting, model) in cells else "-"
                    for model in TABLE_2
                ),
            )
            for setting in COLLAPSE
        ),
    )
