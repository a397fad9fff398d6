"""The report of a finished training: examples are chosen, looked at again and put on a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.core.footprint import Footprint
from maam.core.frameworks import Backend, ClassMaps
from maam.core.metrics import softmax
from maam.core.run_meta import RunMeta
from maam.data.base import Split
from maam.data.thumbnails import name_below, seen_part, thumbnails
from maam.report.content import AgentView, Example, Report
from maam.report.page import report_page
from maam.report.pictures import WHOLE, crisp, heat
from maam.training.run import TrainingRun

MISTAKES = 18
SIDE = 200  # pixels of a picture


def write_report(
    run: TrainingRun,
    backend: Backend,
    net: Any,
    logits: np.ndarray,
    scores: dict[str, Any],
    history: list[dict[str, Any]],
    meta: RunMeta,
    doubts: Sequence[str] = (),
) -> None:
    """Write ``report.html`` into the run folder.

    Args:
        run: the training.
        backend: its framework.
        net: the network that was scored.
        logits: of the images that were scored, (N, K).
        scores: of them.
        history: one row per epoch.
        meta: of the run, scored.
        doubts: about the training, for people.
    """
    dataset = run.dataset
    split = dataset.scored
    probabilities = softmax(logits)
    wrong, example = _choose(probabilities, split.labels)
    chosen = split.take(np.append(wrong, example))
    maps = backend.class_maps(net, chosen.pixels(), run.preprocessing)
    size, data = run.preprocessing.size, meta.data
    *mistakes, shown = _examples(chosen, maps, dataset.classes, size, data)
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    count = len(dataset.classes)
    report = Report(
        meta=meta,
        scores=scores,
        history=history,
        counts={
            name: np.bincount(each.labels, minlength=count).tolist()
            for name, each in splits.items()
        },
        skipped=len(dataset.skipped),
        mistakes=mistakes,
        exact=maps.exact,
        agents=AgentView(shown, maps.agents.names, maps.agents.maps[-1]) if maps.agents else None,
        folder=run.folder.path,
        model_bytes=None if meta.export_error is None else run.folder.model.stat().st_size,
        doubts=doubts,
        unknown=sum(map(meta.is_unknown, probabilities.max(1).tolist())),
        footprint=_footprint(backend, net, meta),
    )
    write_atomic(run.folder.report, report_page(report))


def _footprint(backend: Backend, net: Any, meta: RunMeta) -> Footprint | None:
    try:
        return backend.footprint(net, meta)
    except MaamError:  # a network that C can't compute
        return None


def _choose(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, int]:
    """The wrong answers that were surest, and the right answer that was surest (else any)."""
    right = probabilities.argmax(1) == labels
    confidence = probabilities.max(1)
    wrong = np.flatnonzero(~right)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    return worst, int(np.where(right, confidence, -1).argmax())


def _examples(
    split: Split, maps: ClassMaps, classes: tuple[str, ...], size: tuple[int, int], data: str
) -> list[Example]:
    """Every image of a small split, named as it lies in ``data``, with where the network looked."""
    originals = thumbnails(split.names, SIDE)
    probabilities = softmax(maps.logits)
    examples = []
    for number, (name, pixels) in enumerate(zip(split.names, split.pixels(), strict=True)):
        original, answer = originals.get(name), int(maps.classes[number])
        picture, part = crisp(pixels, SIDE), WHOLE
        if original is not None:
            picture, part = original, seen_part(original.size, size)
        evidence = None if maps.maps is None else maps.maps[number]
        examples.append(
            Example(
                name=name_below(name, data),
                true=classes[int(split.labels[number])],
                answer=classes[answer],
                probability=float(probabilities[number, answer]),
                picture=picture,
                heat=None if evidence is None else heat(picture, evidence, part),
                whole=original is not None,
            )
        )
    return examples
