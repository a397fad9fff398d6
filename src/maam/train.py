"""Training, from options to a finished run folder; the loop is in ``loop``, one a framework."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maam import frameworks
from maam.job import Watch, prepare, write_facts
from maam.recipe import resolve


@dataclass(frozen=True)
class Result:
    """What ``train`` returns: the run folder and the scores of its best weights."""

    run: Path
    scores: dict[str, Any]
    history: list[dict[str, Any]]


def train(
    *,
    recipe: Path | str | None = None,
    resume: Path | str | None = None,
    watch: Watch = lambda kind, facts: None,
    **options: Any,
) -> Result:
    """Train a model, keep its best and last weights, and score the best on the test split.

    Sets the framework's device, mode and seed for the process.

    Args:
        recipe: a TOML file of options, which ``options`` override.
        resume: a run folder to go on with; only the options in ``config.RESUMABLE`` may change.
        watch: told of the plan, each step and each epoch, e.g. to show progress.
        options: fields of ``TrainConfig``.

    Example:
        >>> result = maam.train(data="digits", model="maam", epochs=5)
        >>> result.scores["accuracy"]

    Raises:
        MaamError: bad options or data, or numbers that are not finite; all finished epochs are
            kept.
    """
    folder = Path(resume) if resume is not None else None
    config = resolve(options, recipe, folder)
    framework = frameworks.use(config.framework)
    from maam.finish import finish_run  # Matplotlib, which may only now be known to be there

    job = prepare(config, folder, framework, watch)
    write_facts(job)
    history = framework.fit(job)
    scores = finish_run(job, framework, history)
    return Result(job.folder, scores, history)
