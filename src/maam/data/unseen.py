"""The images that a finished run is scored on, without those it has learned from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maam.core.config import EvaluateConfig, TrainConfig, make_config
from maam.core.errors import MaamError, listed
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.data import Dataset, Split, load_dataset
from maam.data.files.packs import is_pack
from maam.data.files.tree import Tree
from maam.data.fingerprints import fingerprints
from maam.data.readiness import quoted
from maam.data.sources import SOURCES, packed
from maam.data.sources.folder import Labelled, list_all, load_all, may_be_unreadable
from maam.data.sources.packed import are_packed
from maam.data.splits import limit
from maam.data.streaming import exceeds_memory, packed_tree


@dataclass(frozen=True)
class Images:
    """What is scored.

    Attributes:
        split: the images, under the run's classes.
        name: which split that is: ``test``, ``val``, ``train`` or ``all``.
        source: where they came from, for people.
        own: whether they are the run's own data, wherever they lie.
        seen: how many the run was trained or validated with, in this split; None if it does not
            record that.
        left_out: how many of those are not in ``split``: all but where ``own``.
        unreadable: files that could not be read, as (name, reason).
        notes: what else a person should know, such as files that are not used.
    """

    split: Split
    name: str
    source: str
    own: bool
    seen: int | None = None
    left_out: int = 0
    unreadable: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()


def choose_images(run: RunFolder, meta: RunMeta, config: EvaluateConfig) -> Images:
    """The images to score: the run's own, split as they were, or others.

    Images are compared by their pixels, so a copy, a link or an archive of the run's data is the
    run's own data. Of other data, the images that the run has learned from are left out.

    Args:
        run: the run folder.
        meta: its metadata.
        config: the options.

    Raises:
        MaamError: data that is missing or has changed since the training, other classes, another
            shape, or no images that the run has not seen in this split.
    """
    if config.data is None and not (meta.data or meta.config.get("data")):
        raise MaamError(
            f"{run} does not hold the images that it was trained on: name some with `data`"
        )
    trained = make_config(TrainConfig, meta.config)
    data = config.data or trained.data
    fixed = data in SOURCES or (data == trained.data and config.split != "all")
    choose = _split_as_trained if fixed or not Path(data).exists() else _folder
    chosen = choose(data, trained, meta, config, run)
    if not len(chosen.split):
        raise MaamError(f"`split={config.split}`: {chosen.source} has no images in this split")
    unseen = _without_seen(chosen, run, data)
    counts = np.bincount(unseen.split.labels, minlength=len(meta.classes))
    if not (absent := [meta.classes[label] for label in np.flatnonzero(counts == 0)]):
        return unseen
    note = f"no images of {listed(quoted(absent))} to score: nothing is known of them"
    return replace(unseen, notes=(*unseen.notes, note))


def _split_as_trained(
    data: str, trained: TrainConfig, meta: RunMeta, config: EvaluateConfig, run: RunFolder
) -> Images:
    """The run's own data, or a data set with a name."""
    dataset, own = _load(data, trained, meta, config, run)
    # The test images of a shipped model are anyone's copy of them.
    if data == trained.data and not own and not meta.shipped:
        # Split anew, changed images would put some that were trained on among the others. A named
        # data set has the same images in other pixels, which nothing would leave out.
        more = "" if data in SOURCES else ", or score those that it has never seen with `split=all`"
        raise MaamError(
            f"the images of {data} are not those the run was trained on: bring them back{more}"
        )
    if dataset.classes != meta.classes:
        raise MaamError(
            f"`data={data}` has the classes {listed(dataset.classes)}, the run has "
            f"{listed(meta.classes)}: name images of the run's classes"
        )
    channels, height, width = meta.image_shape
    if dataset.image_shape != (height, width, channels):
        raise MaamError(f"`data={data}` has images of another shape than the run was trained on")
    return _of_dataset(dataset, own, config.split)


def _folder(
    data: str, trained: TrainConfig, meta: RunMeta, config: EvaluateConfig, run: RunFolder
) -> Images:
    """The images of a folder or an archive: the run's own, moved, or others.

    Others are not split: if they have no split folders, all are scored.
    """
    channels, height, width = meta.image_shape
    path, shape = Path(data), (height, width, channels)
    if is_pack(path):
        every = packed.load_all(path, shape, meta.classes)
        count, read = len(every.images), lambda: every
    else:
        tree = list_all(path, meta.classes)
        count, read = len(tree.files), lambda: _decoded(tree, shape, meta.classes)
    held = sum(meta.images.values())
    most = count if trained.limit else held
    if held <= count <= most + may_be_unreadable(count):
        with suppress(MaamError):  # nothing to train on: then it is not the run's own
            if images := _own(data, trained, meta, config, run):
                return images
    every, name = read(), config.split
    if name == "test" and set(every.splits) == {"train"}:
        name = "all"
    chosen = np.flatnonzero((every.splits == name) | (name == "all"))
    if not len(chosen):
        raise MaamError(
            f"`split={name}`: {data} has no folder of that name: score all its images with "
            "`split=all`"
        )
    return Images(
        split=every.images.take(chosen),
        name=name,
        source=f"images in {data}",
        own=False,
        unreadable=every.skipped,
        notes=every.notes,
    )


def _own(
    data: str, trained: TrainConfig, meta: RunMeta, config: EvaluateConfig, run: RunFolder
) -> Images | None:
    """The images of a folder that the run was trained on; None: they are others."""
    dataset, own = _load(data, trained, meta, config, run)
    if not own or dataset.classes != meta.classes:
        return None
    return _of_dataset(dataset, own, config.split)


def _decoded(tree: Tree, shape: tuple[int, int, int], classes: Sequence[str]) -> Labelled:
    """All images of a tree, none held out; from a pack if memory does not hold them in colour.

    Raises:
        MaamError: as ``load_all`` and ``pack``.
    """
    if shape[2] == 3 and exceeds_memory(tree, shape[0]):
        every = packed.load_all(packed_tree(tree, shape[0]), shape, classes)
        return replace(every, notes=(*every.notes, *tree.empty_notes))
    return load_all(tree, shape, classes)


def same_images(dataset: Dataset, meta: RunMeta, run: RunFolder) -> bool:
    """Whether a data set, split as the run's, is what the run was trained on, packed or not.

    Raises:
        MaamError: the run's file of images is damaged.
    """
    digests, before = dataset.digests(), meta.data_digests
    if are_packed(digests) == are_packed(before) or digests.keys() != before.keys():
        return digests == before
    # Digests of a pack are of other numbers than those of arrays: compare image by image.
    known, splits = run.read_images(), {"train": dataset.train, "val": dataset.val}
    counts = {name: len(split) for name, split in {**splits, "test": dataset.test}.items()}
    return counts == meta.images and all(
        name in known and np.array_equal(np.unique(fingerprints(split)), known[name])
        for name, split in splits.items()
    )


def _load(
    data: str, trained: TrainConfig, meta: RunMeta, config: EvaluateConfig, run: RunFolder
) -> tuple[Dataset, bool]:
    """A data set, split as the run's, and whether it is the very same."""
    dataset = load_dataset(
        data,
        config.data_dir or trained.data_dir,
        None if data in SOURCES else meta.preprocessing["size"][0],
        trained.val_fraction,
        trained.seed,
    )
    used = dataset
    if trained.limit and trained.limit <= len(dataset.train):
        used = limit(dataset, trained.limit, trained.seed)
    own = same_images(used, meta, run)
    return (used if own and config.split != "all" else dataset), own


def _of_dataset(dataset: Dataset, own: bool, name: str) -> Images:
    split = dataset.all if name == "all" else getattr(dataset, name)
    return Images(split, name, dataset.source, own, None, 0, dataset.skipped, dataset.notes)


def _without_seen(chosen: Images, run: RunFolder, data: str) -> Images:
    """The images with those counted that the run has seen, which are left out if not its own."""
    recorded = run.read_images()
    if not recorded:
        return chosen
    seen = np.isin(fingerprints(chosen.split), np.concatenate(list(recorded.values())))
    count = int(seen.sum())
    if chosen.own or not count:
        return replace(chosen, seen=count)
    if count == len(seen):
        raise MaamError(
            f"`data={data}`: the run has learned from all of these {count} images: name some that "
            "it has never seen"
        )
    unseen = chosen.split.take(np.flatnonzero(~seen))
    return replace(chosen, split=unseen, seen=count, left_out=count)
