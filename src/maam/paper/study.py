"""What each part of MAAM is worth, by runs of short and equal budgets."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from maam.paper.plan import STUDY
from maam.paper.runs import Report, Run, Spread, seed_noise, select, spread

BASE = "maam"

# What is asked of each pair: does the first do better than the second?
QUESTIONS = (
    ("three agents instead of one", BASE, "maam-a1"),
    ("three agents instead of two", BASE, "maam-a2"),
    ("four agents instead of three", "maam-a4", BASE),
    ("six agents instead of three", "maam-a6", BASE),
    ("learned weights instead of fixed ones", BASE, "maam-no-attention"),
    ("a weighted sum instead of concatenation", BASE, "maam-concat"),
    ("squeeze-and-excitation instead of one weight for all images", "maam-squeeze", BASE),
    ("the 1x1 compression", BASE, "maam-no-reduce"),
    ("the whole module instead of one plain branch", BASE, "maam-cnn"),
    ("kernels 1, 3, 5 instead of 3, 3, 3", "maam-k135", BASE),
    ("kernels 3, 5, 7 instead of 3, 3, 3", "maam-k357", BASE),
    ("resolutions 1/1, 1/2, 1/4 instead of equal ones", "maam-multires", BASE),
    ("preset p1 instead of p2", "maam-p1", BASE),
    ("preset p3 instead of p2", "maam-p3", BASE),
)


@dataclass(frozen=True)
class Answer:
    """Whether the first of two models does better.

    Attributes:
        question: what the first has that the second lacks.
        gain: by how much its mean accuracy is higher.
        error: the standard error of that, from the noise between seeds pooled over all models.
        verdict: ``helps``, ``harms``, or ``no difference seen`` within two standard errors.
    """

    question: str
    gain: float
    error: float
    verdict: str


def runs_of(report: Report, model: str) -> list[Run]:
    """The study's runs of a model."""
    return select(report["runs"], part="study", model=model)


def accuracies(report: Report) -> dict[str, Spread]:
    """Validation accuracy after the last epoch, of each model that was trained."""
    scored = {model: [run["val_accuracy"] for run in runs_of(report, model)] for model in STUDY}
    return {model: spread(values) for model, values in scored.items() if values}


def noise(report: Report) -> float | None:
    """The standard deviation between seeds, pooled over the models; None of one seed each."""
    return seed_noise([run["val_accuracy"] for run in runs_of(report, model)] for model in STUDY)


def answers(report: Report) -> list[Answer]:
    """One answer a question whose two models were trained; none, where seeds show no noise."""
    scored, deviation, answered = accuracies(report), noise(report), []
    for question, first, second in QUESTIONS:
        if deviation is None or first not in scored or second not in scored:
            continue
        gain = scored[first].mean - scored[second].mean
        error = deviation * sqrt(1 / scored[first].count + 1 / scored[second].count)
        verdict = "no difference seen"
        if abs(gain) > 2 * error:
            verdict = "helps" if gain > 0 else "harms"
        answered.append(Answer(question, gain, error, verdict))
    return answered
