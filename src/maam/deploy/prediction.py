"""Image files -> classes, from a run folder, on ONNX Runtime; no training framework is imported."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from maam.core.errors import MaamError
from maam.core.metrics import softmax
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.data.files.decoding import SUFFIXES, UnreadableImage, decode, fit, to_rgb
from maam.data.preprocessing import Preprocessing
from maam.deploy.formats import Prediction
from maam.deploy.inputs import STDIN, Item, find_images
from maam.deploy.onnx import Network
from maam.models.weights import default_run, find_run

Source = str | Path | bytes | Image.Image | np.ndarray


class Classifier:
    """A trained network and what its images must look like.

    Attributes:
        classes: K class names, in the order of the probabilities.
        size: (H, W) to which every image is fitted.
        channels: 1 (grey) or 3 (RGB).
        preprocessing: turns fitted images into the network's input.
        meta: of the run.
    """

    def __init__(self, meta: RunMeta, network: Network) -> None:
        self.classes = meta.classes
        self.preprocessing = Preprocessing.from_dict(meta.preprocessing)
        self.size = self.preprocessing.size
        self.channels = self.preprocessing.channels
        self.meta = meta
        self._network = network

    @classmethod
    def load(cls, run: str | os.PathLike[str]) -> Classifier:
        """The classifier of a run folder or shipped model: ``meta.json`` and ``model.onnx``.

        Raises:
            MaamError: no run folder, or the two files are damaged or do not fit together.
        """
        folder = find_run(run)
        if not folder.path.is_dir():
            what = "is a file, not a folder" if folder.path.exists() else "does not exist"
            raise MaamError(f"{folder} {what}: name a run folder, as `maam train` makes it")
        meta = folder.read_meta()
        if meta.own and meta.metrics and not folder.model.exists():
            raise MaamError(
                f"{folder} has no {folder.model.name}: its network could not be written as ONNX; "
                "maam.evaluate(RUN, model=net) scores images in Python"
            )
        classifier = cls(meta, Network(folder.model))
        classifier._check(folder)
        return classifier

    def prepare(self, image: Path | bytes | Image.Image | np.ndarray) -> np.ndarray:
        """uint8 (H, W, C) of a file, a file's content, a Pillow image, or an array.

        An array is uint8, (H, W) or (H, W, 1) grey, (H, W, 3) RGB or (H, W, 4) RGBA, of any size.

        Raises:
            UnreadableImage: ``image`` is none of these.
        """
        return fit(open_picture(image, self.size), self.size, self.channels)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """float32 (N, K) of prepared images uint8 (N, H, W, C); NaN where a logit is not finite."""
        logits = self._network(self.preprocessing(pixels))
        with np.errstate(invalid="ignore"):
            return softmax(logits).astype(np.float32)

    def classify(
        self, images: Sequence[Path | Image.Image | np.ndarray], batch_size: int = 64
    ) -> np.ndarray:
        """Probabilities float32 (N, K) of N images, ``batch_size`` at a time.

        Raises:
            MaamError: an image can't be read; ``predict`` goes on with the next one instead.
        """
        rows = [np.empty((0, len(self.classes)), np.float32)]
        for start in range(0, len(images), batch_size):
            batch = [self.prepare(image) for image in images[start : start + batch_size]]
            rows.append(self.probabilities(np.stack(batch)))
        return np.concatenate(rows)

    def _check(self, run: RunFolder) -> None:
        """Refuse a network that does not fit ``meta.json``, by its shapes and on a black image."""
        again = f"{run.meta.name} and {run.model.name} must come from one run: train again"
        wanted, expected = self._network.image_shape, [self.channels, *self.size]
        # Of a network for images of any size, H and W are names, not numbers.
        named = [w if isinstance(w, int) else e for w, e in zip(wanted, expected, strict=False)]
        if len(wanted) != 3 or named != expected:
            raise MaamError(
                f"{run.model} takes images {wanted} (C, H, W), {run.meta.name} says {expected}; "
                f"{again}"
            )
        try:  # with two images: a batch size of 1 may have been frozen into the network
            shape = self.probabilities(np.zeros((2, *self.size, self.channels), np.uint8)).shape
        except Exception as error:  # ONNX Runtime's errors have no common class of their own
            raise MaamError(f"{run.model} does not run: {_one_line(error)}; {again}") from None
        if shape != (2, len(self.classes)):
            raise MaamError(
                f"{run.model} gives logits {shape} for 2 images, {run.meta.name} names "
                f"{len(self.classes)} classes; {again}"
            )


def open_picture(
    image: Path | bytes | Image.Image | np.ndarray, size: tuple[int, int]
) -> Image.Image:
    """An image, given as ``Classifier.prepare`` takes it, upright and in RGB.

    Args:
        image: a file, a file's content, a Pillow image, or an array.
        size: (H, W) that it will be fitted to; see ``decode``.

    Raises:
        UnreadableImage: it is none of these.
    """
    if isinstance(image, (Path, bytes)):
        return decode(image, size=size)
    try:
        return to_rgb(_from_array(image) if isinstance(image, np.ndarray) else image)
    except Exception as error:  # Pillow reads an opened file only now
        raise UnreadableImage("image", _one_line(error)) from error


def predict(
    run: str | os.PathLike[str],
    inputs: Source | Iterable[Source],
    top_k: int = 3,
    batch_size: int = 64,
    stdin: BinaryIO | None = None,
) -> Iterator[Prediction]:
    """Classify images, in the order given, ``batch_size`` at a time.

    An image that can't be read gives a ``Prediction`` with an ``error``, and the next one follows.

    Args:
        run: a run folder, as ``maam.train`` makes it.
        inputs: strings: files, folders, globs or ``-`` (see ``inputs.expand``); a ``Path`` is a
            file or folder whatever characters are in it; images in memory are as for
            ``Classifier.prepare``. One, or any number; they are taken as they are needed.
        top_k: how many classes to name; all of them if there are fewer.
        batch_size: images at a time; does not change the result.
        stdin: what ``-`` reads; this process's standard input when None.

    Example:
        >>> for prediction in maam.predict("runs/digits-maam", ["photos", "scans/*.png"]):
        ...     print(prediction.file, prediction.classes, prediction.error)

    Raises:
        MaamError: at once, if the run folder or an option is not usable.
    """
    for option, value in (("top_k", top_k), ("batch_size", batch_size)):
        if value < 1:
            raise MaamError(f"`{option}` must be 1 or more, not {value}")
    classifier = Classifier.load(run)
    if isinstance(inputs, Source):
        inputs = [inputs]
    return _stream(classifier, find_images(inputs, stdin), top_k, batch_size)


def choose_run(names: Sequence[str]) -> tuple[RunFolder, Sequence[str]]:
    """Which network answers, and for which images.

    Args:
        names: images, perhaps with a run folder or a shipped model's name before them.

    Returns:
        The run folder, or else that of the shipped model that answers by default, and the images.

    Raises:
        MaamError: the first name is none of these. (An image that is not there is one that
            can't be read, like the others.)
    """
    default = default_run()
    if not names and default:
        return default, names
    if not names:
        raise MaamError("no run folder given: name one, as `maam train` makes it, then images")
    first = find_run(names[0])
    if first.is_run():
        return first, names[1:]
    path = first.path
    image = names[0] == STDIN or glob.has_magic(names[0]) or path.suffix.lower() in SUFFIXES
    if default is None:
        what = "is no run folder" if path.exists() else "does not exist"
        raise MaamError(f"{first} {what}: name a run folder, as `maam train` makes it")
    if not (path.exists() or image):
        raise MaamError(f"{first} does not exist: name images, perhaps after a run folder")
    return default, names


def _from_array(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8:
        raise ValueError(f"an array of {pixels.dtype}: expected uint8, 0 to 255")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if not pixels.size or (pixels.ndim != 2 and pixels.shape[2:] not in ((3,), (4,))):
        raise ValueError(f"an array {pixels.shape}: expected (H, W), or (H, W, C) of 1, 3 or 4")
    return Image.fromarray(pixels)


def _stream(
    classifier: Classifier, items: Iterator[Item], top_k: int, batch_size: int
) -> Iterator[Prediction]:
    while batch := list(itertools.islice(items, batch_size)):
        prepared = [_prepared(classifier, item) for item in batch]
        pixels = [image for image in prepared if not isinstance(image, str)]
        rows = iter(classifier.probabilities(np.stack(pixels)) if pixels else [])
        for item, image in zip(batch, prepared, strict=True):
            if isinstance(image, str):
                yield Prediction(item.name, error=image)
            else:
                yield _best(item.name, next(rows), classifier, top_k)


def _prepared(classifier: Classifier, item: Item) -> np.ndarray | str:
    """The pixels, or the reason why there are none."""
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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
