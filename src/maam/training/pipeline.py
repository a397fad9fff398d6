"""Training, from options to a finished run folder."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maam.core import frameworks
from maam.training.events import Watch, ignore
from maam.training.finalize import check_packages, finalize
from maam.training.options import resolve
from maam.training.planning import is_planned, plan
from maam.training.setup import set_up


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
    watch: Watch = ignore,
    **options: Any,
) -> Result:
    """Train a model, keep its best and last weights, and score the best on the test split.

    Sets the framework's device, mode and seed for the process.

    Args:
        recipe: a TOML file of options, which ``options`` override.
        resume: a run folder to go on with; only the options in ``config.RESUMABLE`` may change.
        watch: told of the plan, each step and each epoch, e.g. to show progress: called with the
            records of ``maam.training.events``.
        options: fields of ``TrainConfig``.

    Example:
        >>> result = maam.train(data="digits", model="maam", epochs=5)
        >>> result.scores["accuracy"]

    Raises:
        MaamError: bad options or data, numbers that are not finite, or a run folder that another
            process trains in; all finished epochs are kept.
    """
    folder = Path(resume) if resume is not None else None
    config = resolve(options, recipe, folder)
    backend = frameworks.use(config.framework)
    check_packages(config.framework)
    with ExitStack() as held:
        dataset = deadline = None
        if folder is None and is_planned(config):
            config, dataset, deadline = plan(config, backend, watch)
        run = set_up(config, folder, backend, watch, held, dataset, deadline)
        history = backend.fit(run)
        scores = finalize(run, backend, history)
    return Result(run.folder.path, scores, history)
