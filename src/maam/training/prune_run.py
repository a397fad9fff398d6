"""``maam.prune``: a run with fewer channels, trained further and measured before it counts."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from maam.core import frameworks
from maam.core.config import EvaluateConfig, make_config
from maam.core.errors import MaamError
from maam.core.files import parents_made, write_atomic
from maam.core.frameworks import Backend
from maam.core.prune_config import PruneConfig
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.data.preprocessing import Preprocessing
from maam.data.unseen import Images, choose_images
from maam.models.pruning import pruned_stages
from maam.models.weights import find_run
from maam.models.widths import Stages, maamnet_name, maamnet_stages
from maam.training.events import Watch, ignore
from maam.training.options import absolute
from maam.training.pipeline import train
from maam.training.prune_report import Network, PrunedTooFar, PruneReport

# Of the run's own options: its images, and how they are split, varied and counted.
_SAME = (
    *("data", "data_dir", "image_size", "val_fraction", "seed", "limit", "batch_size", "workers"),
    *("augment", "erase", "mixup", "cutmix", "mix_until", "class_weights", "unknown_share"),
)
_TAKEN = "{} exists already: name another folder with `out`"


def prune(run: str | os.PathLike[str], *, watch: Watch = ignore, **options: Any) -> PruneReport:
    """Make a run with fewer channels of a run of MAAMNet, as its student.

    Of each stage the channels stay that count most (``maam.models.pruning``). The smaller network
    is trained further on the run's own images, with the run as its teacher, and ends like any
    training. ``prune.json`` in its folder holds the report.

    Args:
        run: a run folder, as ``maam.train`` makes it, or the name of a shipped model.
        watch: told of the training, as ``maam.train`` tells it.
        options: fields of ``PruneConfig``: ``keep``, ``max_drop``, ``epochs``, ``learning_rate``,
            ``data``, ``data_dir``, ``framework``, ``device``, ``out``.

    Example:
        >>> maam.prune("runs/photos", keep=0.5).after.accuracy

    Raises:
        PrunedTooFar: more accuracy is lost than ``max_drop``. No folder is left then.
        MaamError: bad options; a run that is not finished, is folded or damaged, is not of a
            MAAMNet or can't lose a channel; ``out`` exists; images that are missing or others than
            the run's. No folder is left then either.
    """
    config = make_config(PruneConfig, absolute(options))
    source = find_run(run)
    meta = source.read_meta()
    stages, narrower = _stages(meta, source, config)
    out = config.out or _beside(source, Path(run))
    if os.path.lexists(out):
        raise MaamError(_TAKEN.format(out))
    framework = frameworks.choose(config.framework, meta.framework)
    backend = frameworks.use(framework)
    where = {"data": config.data, "data_dir": config.data_dir}
    images = _images(source, meta, where)
    before = _answers(source, images)
    name = str(source.path if source.path == Path(run) else run)  # of a shipped model its name
    training = {
        **{key: meta.config[key] for key in _SAME if key in meta.config},
        **{key: value for key, value in where.items() if value is not None},
        "model": maamnet_name(narrower),
        "weights": name,
        "teacher": name,
        "framework": framework,
        "device": config.device,
        "epochs": config.epochs,
        "learning_rate": config.learning_rate,
        "out": out,
    }
    with _claimed(out):
        history = train(watch=watch, **training).history
        made = RunFolder(out)
        after = _answers(made, images)
        times = frameworks.latencies({"before": source.model, "after": made.model})
        right = [float((each == images.split.labels).mean()) for each in (before, after)]
        report = PruneReport(
            run=str(run),
            out=str(out),
            keep=config.keep,
            kept=round(_channels(narrower) / _channels(stages), 4),
            epochs=len(history),
            split=images.name,
            images=len(images.split),
            before=_network(source, backend, right[0], times["before"]),
            after=_network(made, backend, right[1], times["after"]),
            drop=round(100 * (right[0] - right[1]), 6),
            same_answers=float((before == after).mean()),
        )
        if report.drop > config.max_drop:
            raise PrunedTooFar(report, config.max_drop)
        write_atomic(made.pruning, json.dumps(report.to_dict(), indent=1) + "\n")
    return report


def _stages(meta: RunMeta, source: RunFolder, config: PruneConfig) -> tuple[Stages, Stages]:
    """Channels and blocks of the run's network, and of the smaller one."""
    stages = maamnet_stages(meta.model)
    if stages is None:
        raise MaamError(
            f"{source} holds {meta.model}, whose channels can't be removed: only those of MAAMNet "
            "can, such as maamnet-tiny"
        )
    if meta.fused:
        raise MaamError(f"{source} is folded: name the run that it was made from")
    if not meta.metrics:
        raise MaamError(f"{source} is not finished: end it with `maam train --resume {source}`")
    narrower = pruned_stages(stages, config.keep)
    if narrower == stages:
        raise MaamError(
            f"`keep={config.keep:g}` leaves all channels of {meta.model}, which stay multiples of "
            "8: keep less"
        )
    return stages, narrower


def _beside(source: RunFolder, run: Path) -> Path:
    path = source.path.resolve()
    return (path.parent if source.path == run else Path.cwd()) / f"{path.name}-pruned"


def _images(source: RunFolder, meta: RunMeta, where: dict[str, Any]) -> Images:
    """The images that both networks are scored on: those that the run was.

    Raises:
        MaamError: they are missing, or ``data`` names others.
    """
    split = (meta.metrics or {}).get("split", "test")
    images = choose_images(source, meta, make_config(EvaluateConfig, {**where, "split": split}))
    if not images.own and (where["data"] or not meta.shipped):
        raise MaamError(
            f"`data={where['data']}`: these are not the images of {source}: name where those lie, "
            "for the smaller network learns from them"
        )
    return images


def _answers(run: RunFolder, images: Images) -> np.ndarray:
    """The class of each image by the run's model.onnx, int (N,)."""
    runtime = frameworks.use_for_inference("onnx")
    net, meta = runtime.load_model(run.path)
    preprocessing = Preprocessing.from_dict(meta.preprocessing)
    return runtime.compute_logits(net, images.split, preprocessing).argmax(1)


def _network(run: RunFolder, backend: Backend, accuracy: float, latency: float) -> Network:
    net, meta = backend.load_model(run.path)
    folded = backend.fuse(net)
    return Network(
        model=meta.model,
        accuracy=accuracy,
        parameters=backend.count_parameters(folded),
        macs=backend.count_macs(folded, meta.image_shape),
        onnx_bytes=run.model.stat().st_size,
        latency_ms=latency,
    )


def _channels(stages: Stages) -> int:
    return sum(wide for wide, _ in stages)


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Make a folder, which no other process has then, and remove it if what fills it raises.

    Raises:
        MaamError: it is there already, or can't be made.
    """
    with parents_made(folder):
        try:
            folder.mkdir()
        except FileExistsError:
            raise MaamError(_TAKEN.format(folder)) from None
        except OSError as error:
            raise MaamError(f"cannot make the folder {folder}: {error.strerror or error}") from None
        try:
            yield
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
