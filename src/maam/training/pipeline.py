"""Training, from options to a finished run folder."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maam.core import frameworks
from maam.core.config import TrainConfig
from maam.core.run_folder import RunFolder
from maam.models.own import name_network, refuse_own, with_network
from maam.models.weights import source_run
from maam.training.distillation import check_teacher
from maam.training.events import Note, Watch, ignore
from maam.training.finalize import check_packages, finalize
from maam.training.launch import check_together
from maam.training.options import resolve
from maam.training.planning import is_planned, plan
from maam.training.setup import set_up


@dataclass(frozen=True)
class Result:
    """What ``train`` returns: the run folder and the scores of its best weights.

    The scores are empty in a process that trains with others and does not write.
    """

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
        options: fields of ``TrainConfig``. ``model`` may also be a network of one's own: an
            ``nn.Module`` of PyTorch or an ``nn.Cell`` of MindSpore that maps images, float32
            (N, C, H, W), to logits (N, K). It is trained in place, from the weights that it has; in
            the end it has the best ones and is in inference mode, on the device that computed.

    Example:
        >>> result = maam.train(data="digits", model="maam", epochs=5)
        >>> result.scores["accuracy"]

    Raises:
        MaamError: bad options, network or data, numbers that are not finite, or a run folder that
            another process trains in; all finished epochs are kept.
    """
    began = time.monotonic()
    folder = Path(resume) if resume is not None else None
    options, net = name_network(options)
    config = resolve(options, recipe, folder)
    if net is None:
        refuse_own(config.model, "`model`", "give it in Python, as in maam.train(model=net)")
    backend = with_network(frameworks.use(config.framework), net)
    check_packages(config.framework)
    with ExitStack() as held:
        backend.join_ranks(config.device, config.mode)
        held.callback(backend.leave_ranks)
        together, writes = backend.world_size() > 1, backend.rank() == 0
        watch = watch if writes else ignore
        if together:
            check_together(config, folder)
        if writes:
            _check_start(config, folder)
        dataset = budget = deadline = None
        if folder is None and is_planned(config):
            config, dataset, budget, deadline = plan(config, backend, watch, began)
        run = set_up(config, folder, backend, watch, held, dataset, deadline)
        history = backend.fit(run)
        scores = finalize(run, backend, history) if writes else {}
        if budget and (late := budget.overrun()):
            watch(Note(late))
    return Result(run.folder.path, scores, history)


def _check_start(config: TrainConfig, resume: Path | None) -> None:
    """Refuse, before images are loaded, what cannot be trained whatever they are.

    Args:
        config: the resolved options.
        resume: the run folder to go on with, or None for a new one.

    Raises:
        MaamError: a bad teacher, weights that do not come with the package, or a run folder that is
            not free.
    """
    if config.teacher:
        check_teacher(config.teacher)
    if config.pretrained and config.model != "auto":
        source_run(config.model, config.weights)
    if resume is None and config.out is not None:
        RunFolder(config.out).check_free()
