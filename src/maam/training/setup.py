"""Everything before the first step: load the data, build the network, open or resume the folder."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maam.core.config import RESUMABLE, TrainConfig
from maam.core.environment import environment
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.core.frameworks import Backend
from maam.core.recipes import to_toml
from maam.core.run_folder import RunFolder, new_run_folder
from maam.core.run_meta import OWN, RunMeta
from maam.core.signals import check_signals
from maam.data import SOURCES, Dataset, load_dataset
from maam.data.augment import Augmentation
from maam.data.augment.resizing import small_size
from maam.data.files.packs import is_pack
from maam.data.files.tree import Tree, scan
from maam.data.fingerprints import fingerprints
from maam.data.preprocessing import Preprocessing
from maam.data.sources.packed import are_packed
from maam.data.splits import limit
from maam.data.streaming import exceeds_memory, load_tree
from maam.data.unseen import same_images
from maam.models.registry import create_checked
from maam.models.weights import find_run, source_run
from maam.training.budget import Deadline
from maam.training.checkpoint import read_checkpoint
from maam.training.device_limits import device_check
from maam.training.distillation import describe_teacher
from maam.training.events import Download, Note, Plan, Watch
from maam.training.options import resolve
from maam.training.ranks import ALONE, Ranks
from maam.training.resume import (
    check_fits,
    check_same_run,
    place_notes,
    resumed,
)
from maam.training.run import TrainingRun
from maam.training.schedule import learning_rates
from maam.training.small_first import check_small, small_epochs
from maam.training.transfer import (
    SEEN,
    describe_origins,
    learned_images,
    overlaps,
    take_weights,
    unlike_size,
)


@dataclass(frozen=True)
class Network:
    """A network ready to train, and how its images are prepared."""

    net: Any
    preprocessing: Preprocessing
    parameters: int
    macs: int


def set_up(
    config: TrainConfig,
    resume: Path | None,
    backend: Backend,
    watch: Watch,
    held: ExitStack,
    dataset: Dataset | None = None,
    deadline: Deadline | None = None,
) -> TrainingRun:
    """Prepare a training, and write what is known before its first step.

    Args:
        config: the resolved options.
        resume: the run folder to go on with, or None for a new one.
        backend: the framework.
        watch: told of the plan and of downloads.
        held: holds the folder's lock until it is closed.
        dataset: the images, if they are loaded already.
        deadline: when the last epoch must have ended.

    Raises:
        MaamError: bad options or data, images other than the run began with, or a folder that
            another process trains in.
    """
    device = backend.set_device(config.device, config.mode)
    backend.set_seed(config.seed)
    ranks = Ranks.of(backend)
    before = RunFolder(resume).read_meta() if resume is not None else None
    if resume is not None and ranks.writes:
        held.enter_context(RunFolder(resume).lock())
    if dataset is None:
        dataset = load_data(config, watch, None, ranks, before)
    check_signals()
    network = build_network(config, dataset, backend)
    meta = RunMeta(
        model=config.model,
        classes=dataset.classes,
        preprocessing=network.preprocessing.to_dict(),
        parameters=network.parameters,
        macs=network.macs,
        data=config.data,
        data_source=dataset.source,
        data_digests=dataset.digests(),
        images={"train": len(dataset.train), "val": len(dataset.val), "test": len(dataset.test)},
        device=device.kind,
        device_name=device.name,
        config=config.model_dump(mode="json", exclude_none=True, exclude={"out"}),
        environment=environment(),
        **describe_origins(config, dataset.classes, dataset.image_shape),
    )
    if overlaps(config, meta, dataset.val):
        watch(Note(SEEN))
    if resume is None and (doubt := unlike_size(config, dataset.image_shape)):
        watch(Note(doubt))
    checkpoint = None if resume is None else read_checkpoint(RunFolder(resume))
    trained = checkpoint.epochs if checkpoint else 0
    if before is not None and resume is not None:
        folder = RunFolder(resume)
        meta = resumed(folder, before, meta, same_images(dataset, before, folder), trained)
        check_fits(folder, backend.get_weights(network.net))
        for note in place_notes(checkpoint, config.epochs):
            watch(Note(note))
        if are_packed(before.data_digests) != are_packed(dataset.digests()):
            watch(Note("the images come in another order than in the run so far"))
    else:
        folder = new_run_folder(config.out, config.data, config.model.removesuffix(OWN))
        if ranks.writes:
            held.enter_context(folder.lock())
            folder.check_free()
    batch_size = min(config.batch_size, len(dataset.train))
    ranks.check_batch(batch_size)
    kind = dataset.augment if config.augment == "auto" else config.augment
    run = TrainingRun(
        config=config,
        folder=folder,
        dataset=dataset,
        preprocessing=network.preprocessing,
        augmentation=Augmentation(
            kind, config.erase, config.mixup, config.cutmix, len(dataset.classes)
        ),
        batch_size=batch_size,
        rates=learning_rates(config, -(-len(dataset.train) // batch_size)),
        net=network.net,
        meta=meta,
        watch=watch,
        deadline=deadline,
        ranks=ranks,
    )
    check_same_run(folder, checkpoint, run.identity)
    ranks.any(False)  # all have read the folder
    if ranks.writes:
        write_start(run, trained)
    number = small_epochs(config)
    watch(Plan(folder, meta, run.steps, batch_size, kind, dataset.skipped, number))
    if number:
        height, width = small_size(network.preprocessing.size)
        watch(Note(f"the first {number} of {config.epochs} epochs see images of {height}x{width}"))
    elif config.small_until:
        watch(Note(f"`small_until`: {config.epochs} epochs are too few for smaller images first"))
    return run


def load_data(
    config: TrainConfig,
    watch: Watch,
    tree: Tree | None = None,
    ranks: Ranks = ALONE,
    before: RunMeta | None = None,
) -> Dataset:
    """The images of a training; the watcher is told what there is to know of them.

    Args:
        config: the options.
        watch: told.
        tree: what ``config.data`` holds, if it has been scanned already.
        ranks: the processes that load them: all from a pack, or none.
        before: of the run that goes on: its images have its size, and those that came from a pack
            still do, in the same order.

    Raises:
        MaamError: as ``load_dataset``; or none are left to validate or to score on.
    """
    path = Path(os.path.expanduser(config.data))
    if tree is None and config.data not in SOURCES and path.exists() and not is_pack(path):
        tree = scan(path)
    size = config.image_size
    if before is not None and config.data not in SOURCES:
        size = before.preprocessing["size"][0]
    how = size, config.val_fraction, config.seed
    if tree is not None:
        packed = before is not None and are_packed(before.data_digests)
        stream = ranks.any(packed or exceeds_memory(tree, size))
        dataset = load_tree(tree, *how, lambda text: watch(Note(text)), stream)
    else:
        dataset = load_dataset(
            config.data, config.data_dir, *how, lambda done, total: watch(Download(done, total))
        )
    for note in dataset.notes:
        watch(Note(note))
    if config.early_stopping and not len(dataset.val):
        more = "give more images" if config.val_fraction else "give `val_fraction` above 0"
        raise MaamError(f"`early_stopping` needs validation images: {more}")
    if not len(dataset.test) and not len(dataset.val):
        raise MaamError(f"{dataset.source} leaves no images to score on: add some")
    return dataset if config.limit is None else limit(dataset, config.limit, config.seed)


def build_network(config: TrainConfig, dataset: Dataset, backend: Backend) -> Network:
    """The network of a training, with shipped weights and frozen in part if so configured.

    Raises:
        MaamError: no such model or weights, images too small for it, a network too large for the
            device that is to hold it, nothing left to train, smaller images that it or its teacher
            can't take, or a teacher of other classes or images.
    """
    height, width, channels = dataset.image_shape
    net = create_checked(backend, config.model, len(dataset.classes), channels, (height, width))
    if device := device_check(config, backend, dataset.classes):
        device.check(config.model, dataset.image_shape, net)
    if config.small_until:
        check_small(config.model, net, dataset.image_shape, backend)
        if config.teacher:  # it answers for smaller images too
            describe_teacher(config.teacher, dataset.classes, dataset.image_shape)
            shape = find_run(config.teacher).read_meta().model_shape
            name = f"the teacher ({shape[0]})"
            check_small(name, backend.create_model(*shape), dataset.image_shape, backend)
    preprocessing = Preprocessing.fit(dataset.train, config.normalize)
    if config.pretrained:
        source = source_run(config.model, config.weights)
        preprocessing = take_weights(
            backend, net, config.model, source, preprocessing, dataset.classes
        )
    parameters = backend.count_parameters(net)
    macs = backend.count_macs(net, (channels, height, width))
    backend.freeze(net, config.freeze)
    return Network(net, preprocessing, parameters, macs)


def write_start(run: TrainingRun, trained: int) -> None:
    """Write what is known before the first step: options, machine, and what the weights need.

    What described other weights than those that will come is deleted.

    Args:
        run: the training.
        trained: how many epochs it has.
    """
    folder = run.folder
    if run.meta.metrics is None:
        made = folder.int8, folder.int8_model, folder.pruning
        for file in (folder.card, folder.report, folder.model, folder.golden, *made):
            file.unlink(missing_ok=True)
        if trained < run.config.epochs:
            folder.scores.unlink(missing_ok=True)
    seen = {"train": run.dataset.train, "val": run.dataset.val}
    images = {name: fingerprints(split) for name, split in seen.items()}
    if len(learned := learned_images(run.config)):
        images["teacher"] = learned
    folder.write_images(images)
    write_atomic(folder.config, to_toml(run.config.model_copy(update={"out": None})))
    write_atomic(folder.environment, json.dumps(run.meta.environment, indent=1) + "\n")
    folder.write_meta(run.meta)


def check_begun(folder: RunFolder, wanted: TrainConfig) -> bool:
    """Whether a training was begun in ``folder``, with the wanted options.

    Raises:
        MaamError: it was begun with others than where and how fast to compute.
    """
    if not folder.is_begun():
        return False
    before = resolve({}, run=folder.path)
    for key in type(wanted).model_fields:
        if key in {*RESUMABLE - {"data", "epochs", "teacher"}, "out"}:
            continue
        old, new = getattr(before, key), getattr(wanted, key)
        if key == "teacher":  # it may lie elsewhere now; ``resumed`` looks at its weights
            old, new = Path(old).name, Path(new).name
        if old != new:
            raise MaamError(
                f"{folder} was begun with {key} = {old}, not {new}: use another folder, or delete "
                "this one"
            )
    return True
