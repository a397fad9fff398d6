"""Each image of a data set decoded once, in threads, and measured: what descriptions rest on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from maam.core.signals import check_signals
from maam.data.base import Dataset
from maam.data.duplicates import Sample
from maam.data.files import decoding
from maam.data.files.tree import ImageFile, Tree
from maam.data.near_duplicates import Fingerprint, fingerprints, shrink

Progress = Callable[[int, int], None]
Item = TypeVar("Item")

_BATCH = 256  # how many images are handed to threads together
_TASK = 16  # of them that a thread takes at a time
_SHARP_SIDE = 256  # a larger image is shrunk to this long side before its sharpness is measured


class Measures(NamedTuple):
    """What is known of one image, before it is fitted to the network's size.

    Attributes:
        size: (width, height), turned upright.
        form: of the file, in Pillow's words; empty for data that is not in image files.
        mode: Pillow's.
        digest: the same for identical pixels only.
        fingerprint: similar for images that look alike.
        brightness: mean grey level, 0..255.
        sharpness: variance of the Laplacian of the grey levels, at most 256 pixels a side.
        several: whether the file has more pages or frames.
    """

    size: tuple[int, int]
    form: str
    mode: str
    digest: bytes
    fingerprint: Fingerprint
    brightness: float
    sharpness: float
    several: bool = False


def inspect_tree(
    tree: Tree, progress: Progress | None = None
) -> tuple[dict[ImageFile, Measures], dict[ImageFile, str]]:
    """Measure the images of a folder or archive.

    Args:
        tree: what it holds.
        progress: called with (images so far, images in all).

    Returns:
        The measures of every image that can be read, and why each of the others cannot.

    Raises:
        MaamError: an archive is damaged.
    """

    results: dict[ImageFile, Measures | str] = {}
    with decoding.pillow_quiet(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in tree.batches(_BATCH):
            check_signals()
            for part in pool.map(_look, _tasks(batch)):
                results.update(part)
            if progress:
                progress(len(results), len(tree.files))
    found = [(file, results[file]) for file in tree.files]  # an archive has an order of its own
    return (
        {file: result for file, result in found if isinstance(result, Measures)},
        {file: result for file, result in found if isinstance(result, str)},
    )


def _tasks(batch: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (batch[start : start + _TASK] for start in range(0, len(batch), _TASK))


def _look(files: Sequence[tuple[ImageFile, Path | bytes]]) -> dict[ImageFile, Measures | str]:
    """The measures of each file, or why it cannot be read."""
    results: dict[ImageFile, Measures | str] = {}
    views: dict[ImageFile, _View] = {}
    for file, content in files:
        try:
            with decoding.reading(content, file.name) as picture:
                views[file] = _view(*picture)
        except decoding.UnreadableImage as error:
            results[file] = error.reason
    return results | dict(zip(views, _measure(list(views.values())), strict=True))


def inspect_dataset(
    dataset: Dataset, progress: Progress | None = None
) -> tuple[list[Sample], list[Measures]]:
    """Measure the images of a data set that is loaded already: train, val, test, in order."""
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    samples = [
        Sample(split, dataset.classes[label], name)
        for split, part in splits.items()
        for label, name in zip(part.labels.tolist(), part.names, strict=True)
    ]
    mode = {1: "L", 3: "RGB"}[dataset.image_shape[2]]
    measures: list[Measures] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for split in splits.values():
            for pixels, _ in split.batches(_BATCH):
                check_signals()
                for part in pool.map(lambda some: _look_at(some, mode), _tasks(list(pixels))):
                    measures += part
                if progress:
                    progress(len(measures), len(samples))
    return samples, measures


def _look_at(pixels: Sequence[np.ndarray], mode: str) -> list[Measures]:
    """The measures of images, uint8 (H, W, C), that are decoded already."""
    return _measure([_view(_to_rgb(each), "", mode) for each in pixels])


class _View(NamedTuple):
    """What the measures of an image are made of; it takes much less memory than the image.

    Attributes:
        small: uint8 (32, 32, 3).
        grey: levels, uint8 (H, W), at most 256 pixels a side.
    """

    size: tuple[int, int]
    form: str
    mode: str
    digest: bytes
    small: np.ndarray
    grey: np.ndarray
    several: bool


def _view(image: Image.Image, form: str, mode: str, several: bool = False) -> _View:
    """Of an image in mode RGB."""
    grey = image.convert("L")
    grey.thumbnail((_SHARP_SIDE, _SHARP_SIDE), Image.Resampling.BOX)
    levels = np.asarray(grey, np.uint8)
    return _View(image.size, form, mode, _digest(image), shrink(image), levels, several)


def _measure(views: Sequence[_View]) -> list[Measures]:
    """The measures of some images at once: NumPy is called less often, and that is faster."""
    if not views:
        return []
    prints = fingerprints(np.stack([view.small for view in views]))
    brightness, sharpness = np.empty(len(views)), np.empty(len(views))
    for shape in {view.grey.shape for view in views}:
        alike = [number for number, view in enumerate(views) if view.grey.shape == shape]
        levels = np.stack([views[number].grey for number in alike]).astype(np.float32)
        brightness[alike] = levels.mean((1, 2))
        sharpness[alike] = _sharpness(levels)
    return [
        Measures(view.size, view.form, view.mode, view.digest, look, bright, sharp, view.several)
        for view, look, bright, sharp in zip(
            views, prints, brightness.tolist(), sharpness.tolist(), strict=True
        )
    ]


def _sharpness(levels: np.ndarray) -> np.ndarray:
    """The variance of the Laplacian, which is small for a blurred image.

    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.

    Args:
        levels: float32 (N, H, W); of less than 3 pixels a side, there is none: 0.

    Returns:
        float32 (N,).
    """
    if min(levels.shape[1:]) < 3:
        return np.zeros(len(levels), np.float32)
    edges = levels[:, :-2, 1:-1] + levels[:, 2:, 1:-1]
    edges += levels[:, 1:-1, :-2]
    edges += levels[:, 1:-1, 2:]
    edges -= 4 * levels[:, 1:-1, 1:-1]
    return edges.var((1, 2))


def _digest(image: Image.Image) -> bytes:
    """The size tells a 2x3 image from a 3x2 one."""
    key = repr(image.size).encode()
    return hashlib.blake2b(image.tobytes(), digest_size=16, key=key).digest()


def _to_rgb(pixels: np.ndarray) -> Image.Image:
    """uint8 (H, W, C) -> a picture in mode RGB."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
