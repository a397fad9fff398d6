"""What is checked and told before a run goes on, whatever the framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from maam.core.errors import MaamError
from maam.core.run_folder import NEXT_BEST, RunFolder
from maam.core.run_meta import RunMeta
from maam.core.tensors import check_tensors, load_tensors
from maam.data.preprocessing import Preprocessing
from maam.training.checkpoint import Checkpoint


def resumed(folder: RunFolder, before: RunMeta, meta: RunMeta, same: bool, trained: int) -> RunMeta:
    """The metadata of a run that goes on.

    Args:
        folder: the run's.
        before: what it says so far.
        meta: as of a new run.
        same: whether its images are those that the run began with.
        trained: how many epochs it has.

    Raises:
        MaamError: it can't go on: other images, another teacher, or fewer epochs than it has.
    """
    epochs = meta.config["epochs"]
    if trained > epochs:
        raise MaamError(f"`epochs={epochs}`: {folder} has {trained} epochs already")
    if not same:
        raise MaamError(
            f"`resume` {folder}: the images of {meta.data} are not those it was trained on: "
            "bring them back, name where they lie now with `data`, or train anew"
        )
    if before.classes != meta.classes:
        raise MaamError(
            f"`resume` {folder}: the class folders of {meta.data} have other names than those it "
            "was trained on: name them as before, or train anew"
        )
    changed = "is not what it began with, or has changed: restore its best.safetensors of then"
    for what, name in (("teacher", "`teacher`"), ("start", "`weights`")):
        kept, now = (getattr(each, what) or {} for each in (before, meta))
        if kept.get("weights") != now.get("weights"):
            raise MaamError(f"`resume` {folder}: {name} {changed}")
    if Preprocessing.from_dict(before.preprocessing) != Preprocessing.from_dict(meta.preprocessing):
        raise MaamError(f"`resume` {folder}: it began with other `pretrained` weights")
    earlier = stages(before, epochs, trained)
    if trained < epochs:
        return replace(meta, stages=earlier)
    # It has been trained: where, and how well, stays true.
    return replace(
        before,
        config=meta.config,
        stages=earlier,
        operators=before.operators or "not recorded",
        data=meta.data,
        data_source=meta.data_source,
    )


def check_fits(folder: RunFolder, weights: Mapping[str, np.ndarray]) -> None:
    """Check that a network is the one that a run began with, before any file of it is changed.

    Args:
        folder: the run's.
        weights: of the network.

    Raises:
        MaamError: other weights are kept there, by their names or shapes.
    """
    if folder.best.exists():
        shapes = {name: array.shape for name, array in weights.items()}
        check_tensors(shapes, load_tensors(folder.best)[0], str(folder.best))


def check_same_run(
    folder: RunFolder, checkpoint: Checkpoint | None, identity: Mapping[str, Any]
) -> None:
    """Check that a checkpoint is of this run, and that the best weights are there.

    Args:
        folder: the run's.
        checkpoint: in that folder.
        identity: as ``TrainingState`` keeps it.

    Raises:
        MaamError: it is of another run, or the best weights are gone.
    """
    if checkpoint is None:
        return
    kept = checkpoint.progress.get("identity", {})  # an older run has none, or not all
    for name in kept.keys() & identity.keys():
        if kept[name] != identity[name]:
            raise MaamError(
                f"{checkpoint.path} is of another run, whose {name} was {kept[name]}, not "
                f"{identity[name]}: restore it from a copy"
            )
    kept = folder.best.exists() or (folder.path / NEXT_BEST).exists()
    if checkpoint.progress["best_epoch"] and not kept:
        raise MaamError(f"{folder.best} is gone: restore it, or train anew in another folder")


def place_notes(checkpoint: Checkpoint | None, epochs: int) -> list[str]:
    """Where a run goes on, and what is wrong with its newest checkpoint, for people."""
    if checkpoint is None:
        return [f"goes on after epoch 0 of {epochs}"]
    step = checkpoint.progress.get("step", 0)
    place = f"goes on after epoch {checkpoint.epochs} of {epochs}"
    if checkpoint.epochs >= epochs and not step:
        place = (
            f"all {epochs} epochs are done, scores and report are written anew: `epochs` adds some"
        )
    notes = [f"{place}, step {step} of the next" if step else place]
    if checkpoint.damaged:
        notes.insert(0, f"{checkpoint.damaged}; {checkpoint.path} takes its place")
    return notes


def stages(before: RunMeta, epochs: int, trained: int) -> tuple[dict[str, Any], ...]:
    """How many epochs a run was meant to have, each time that this was changed, and after which.

    Learning rates follow from that number: a run of 10 epochs that was given 10 more is not one
    of 20. The accuracy that a finished stage had is kept.

    Args:
        before: the metadata of the run so far.
        epochs: how many it is meant to have now.
        trained: how many it has.
    """
    planned = before.config.get("epochs", epochs)
    if not trained or planned == epochs:
        return before.stages
    stage = {"epochs": planned, "until": trained}
    if before.metrics and before.metrics.get("accuracy") is not None:
        stage["accuracy"] = before.metrics["accuracy"]
    return (*before.stages, stage)
