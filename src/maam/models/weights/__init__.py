"""The weights that come with the package: each folder here is laid out as a run folder.

A model's name stands for its folder wherever a run folder is asked for. Those in ``tiny-imagenet``
are only to begin a training with. They lie with the models whose weights they are, not in a room of
their own. A run folder of one's own may stand for them.
"""

from __future__ import annotations

import os
from pathlib import Path

from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.models.own import refuse_own
from maam.models.pruning import fits_into
from maam.models.widths import maamnet_stages

WEIGHTS = Path(__file__).parent
DEFAULT = "maamnet-tiny"  # what `maam predict photo.jpg` asks
CIFAR10, TINY_IMAGENET = "cifar10", "tiny-imagenet"  # what the weights were learned from


def shipped() -> list[str]:
    """The models whose weights come with the package."""
    return sorted(path.name for path in WEIGHTS.iterdir() if RunFolder(path).is_begun())


def find_run(run: str | os.PathLike[str]) -> RunFolder:
    """The folder of a shipped model, if ``run`` is its name and no folder here; else ``run``."""
    named = os.fspath(run) in shipped() and not Path(run).is_dir()
    return RunFolder(WEIGHTS / run if named else Path(run))


def default_run() -> RunFolder | None:
    """The folder of the shipped model that answers when none is named, if it is there."""
    return RunFolder(WEIGHTS / DEFAULT) if DEFAULT in shipped() else None


def shipped_run(model: str) -> RunFolder:
    """The folder of a shipped model.

    Raises:
        MaamError: its weights do not come with the package.
    """
    if model not in shipped():
        names = ", ".join(shipped()) or "none"
        raise MaamError(f"no weights of {model!r} come with maam, only of: {names}")
    return RunFolder(WEIGHTS / model)


def sources(model: str) -> list[str]:
    """What shipped weights of a model were learned from: ``cifar10``, ``tiny-imagenet``."""
    photos = [TINY_IMAGENET] if RunFolder(WEIGHTS / TINY_IMAGENET / model).is_begun() else []
    return [*([CIFAR10] if model in shipped() else []), *photos]


def is_own_run(source: str) -> bool:
    """Whether weights to begin with are those of a run folder, not the package's for a model."""
    return source not in (CIFAR10, TINY_IMAGENET)


def source_run(model: str, source: str) -> RunFolder:
    """The folder of weights that a model can begin with.

    Args:
        model: its name.
        source: ``cifar10`` or ``tiny-imagenet``, from which the package's were learned; or a run
            folder or a shipped model: of the same model, or of a MAAMNet with more channels.

    Raises:
        MaamError: they do not come with the package, or are another model's.
    """
    if is_own_run(source):
        run = own_run(source)
        _check_begins(model, run.read_meta().model, source)
        return run
    if source == CIFAR10:
        return shipped_run(model)
    if source not in sources(model):
        raise MaamError(
            f"`weights={source}`: no such weights of {model!r} come with maam, only "
            f"{', '.join(sources(model)) or 'none'}"
        )
    return RunFolder(WEIGHTS / source / model)


def own_run(source: str) -> RunFolder:
    """The run folder, or that of a shipped model, whose weights a training is to begin with.

    Raises:
        MaamError: it is none, is folded, or holds a network of one's own.
    """
    run = find_run(source)
    if not run.is_run():
        raise MaamError(
            f"`weights={source}` is neither {CIFAR10} nor {TINY_IMAGENET} nor a run folder"
        )
    meta = run.read_meta()
    refuse_own(meta.model, f"`weights` {source}", "load its weights into `model` yourself")
    if meta.fused:
        raise MaamError(f"`weights` {source} is folded: name the run that it was made from")
    return run


def _check_begins(model: str, held: str, source: str) -> None:
    stages, before = maamnet_stages(model), maamnet_stages(held)
    if model != held and not (stages and before and fits_into(stages, before)):
        raise MaamError(
            f"`weights` {source} holds {held}, with which {model} can't begin: name that as "
            "`model`, or a MAAMNet of as many blocks and no more channels"
        )
