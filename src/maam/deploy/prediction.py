"""Image files -> classes, from a run folder, on ONNX Runtime; no training framework is imported."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from maam.core.environment import usable_cores
from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.data.files.decoding import SUFFIXES, UnreadableImage
from maam.deploy.classifier import Classifier
from maam.deploy.formats import Prediction
from maam.deploy.inputs import STDIN, Item, find_images
from maam.models.weights import default_run, find_run

Source = str | Path | bytes | Image.Image | np.ndarray
Prepared = np.ndarray | str
"""The pixels of an image, or the reason why there are none."""


def predict(
    run: str | os.PathLike[str] | Classifier,
    inputs: Source | Iterable[Source],
    top_k: int = 3,
    batch_size: int = 64,
    stdin: BinaryIO | None = None,
) -> Iterator[Prediction]:
    """Classify images, in the order given, ``batch_size`` at a time.

    An image that can't be read gives a ``Prediction`` with an ``error``, and the next one follows.
    The images of a batch are decoded side by side, in threads.

    Args:
        run: a run folder, as ``maam.train`` makes it, or the ONNX file of one; or a classifier that
            is loaded already, for many calls.
        inputs: strings: files, folders, packs, globs or ``-`` (see ``inputs.expand``); a ``Path``
            is a file or folder whatever characters are in it; images in memory are as for
            ``Classifier.prepare``. One, or any number; they are taken as they are needed.
        top_k: how many classes to name; all of them if there are fewer.
        batch_size: images at a time; does not change the result.
        stdin: what ``-`` reads; this process's standard input when None.

    Example:
        >>> for prediction in maam.predict("runs/digits-maam", ["photos", "scans/*.png"]):
        ...     print(prediction.file, prediction.classes, prediction.error)

    Raises:
        MaamError: at once, if the run or an option is not usable.
    """
    for option, value in (("top_k", top_k), ("batch_size", batch_size)):
        if value < 1:
            raise MaamError(f"`{option}` must be 1 or more, not {value}")
    classifier = run if isinstance(run, Classifier) else Classifier.load(run)
    if isinstance(inputs, Source):
        inputs = [inputs]
    return _stream(classifier, find_images(inputs, stdin), top_k, batch_size)


def choose_run(names: Sequence[str]) -> tuple[RunFolder, Sequence[str]]:
    """Which network answers, and for which images.

    Args:
        names: images, perhaps with a run folder, an ONNX file or a shipped model's name before
            them.

    Returns:
        The run folder (or its ONNX file), or else that of the shipped model that answers by
        default, and the images.

    Raises:
        MaamError: the first name is none of these, or a folder of run folders, or a run folder
            comes later. (An image that is not there is one that can't be read, like the others.)
    """
    default = default_run()
    if not names and default:
        return default, names
    if not names:
        raise MaamError("no run folder given: name one, as `maam train` makes it, then images")
    first = find_run(names[0])
    path = first.path
    if first.is_run() or (path.suffix.lower() == ".onnx" and not path.is_dir()):
        return first, names[1:]
    if inner := _run_within(path):
        raise MaamError(f"{path} holds run folders: name one of them, such as {inner}")
    image = names[0] == STDIN or glob.has_magic(names[0]) or path.suffix.lower() in SUFFIXES
    if default is None:
        what = "is no run folder" if path.exists() else "does not exist"
        raise MaamError(f"{first} {what}: name a run folder, as `maam train` makes it")
    if not (path.exists() or image):
        raise MaamError(f"{first} does not exist: name images, perhaps after a run folder")
    for name in names:
        run = RunFolder(Path(name))
        if os.path.exists(run.meta) and os.path.exists(run.config):
            raise MaamError(f"{name} is a run folder: name it first, then the images")
    return default, names


def _run_within(folder: Path) -> Path | None:
    """The first run folder in a folder, if there is one."""
    try:
        inner = sorted(each for each in folder.iterdir() if each.is_dir())
    except OSError:  # a file, or not readable, which the images' reader will say
        return None
    return next((each for each in inner if RunFolder(each).is_begun()), None)


def _stream(
    classifier: Classifier, items: Iterator[Item], top_k: int, batch_size: int
) -> Iterator[Prediction]:
    def prepare(item: Item) -> Prepared:
        return _prepared(classifier, item)

    with _side_by_side() as each:
        while batch := list(itertools.islice(items, batch_size)):
            prepared = each(prepare, batch)
            pixels = [image for image in prepared if not isinstance(image, str)]
            rows = iter(classifier.probabilities(np.stack(pixels)) if pixels else [])
            for item, image in zip(batch, prepared, strict=True):
                if isinstance(image, str):
                    yield Prediction(item.name, error=image)
                else:
                    yield _best(item.name, next(rows), classifier, top_k)


@contextmanager
def _side_by_side() -> Iterator[Callable[[Callable[[Item], Prepared], list[Item]], list[Prepared]]]:
    """``map`` in as many threads as there are cores; for one item, without any.

    Decoders let go of Python's lock, and scale well.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(usable_cores()) as pool:

        def each(prepare: Callable[[Item], Prepared], batch: list[Item]) -> list[Prepared]:
            return [prepare(batch[0])] if len(batch) == 1 else list(pool.map(prepare, batch))

        yield each


def _prepared(classifier: Classifier, item: Item) -> Prepared:
    if isinstance(item.image, str):
        return item.image
    try:
        return classifier.prepare(item.image)
    except UnreadableImage as error:
        return error.reason


def _best(name: str, row: np.ndarray, classifier: Classifier, top_k: int) -> Prediction:
    """The ``top_k`` best of probabilities (K,); of equal ones the first class is better."""
    if not np.isfinite(row).all():
        return Prediction(name, error="the network's output is not finite: its weights are damaged")
    best = np.argsort(-row, kind="stable")[:top_k].tolist()
    names = tuple(classifier.classes[i] for i in best)
    unknown = classifier.meta.is_unknown(float(row[best[0]]))
    return Prediction(name, names, tuple(row[best].tolist()), unknown=unknown)
