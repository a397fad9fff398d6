"""Each image of a data set decoded once, in threads, and measured: what descriptions rest on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from maam.core.signals import check_signals
from maam.data.base import Dataset
from maam.data.duplicates import Sample
from maam.data.files import decoding
from maam.data.files.tree import ImageFile, Tree
from maam.data.near_duplicates import Fingerprint, fingerprint

Progress = Callable[[int, int], None]

_BATCH = 256  # how many files of an archive are in memory at once
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
    contents = tree.contents()
    with decoding.pillow_quiet(), ThreadPoolExecutor(os.cpu_count()) as pool:
        while batch := list(islice(contents, _BATCH)):
            check_signals()
            parts = (batch[start : start + _TASK] for start in range(0, len(batch), _TASK))
            for part in pool.map(_look, parts):
                results.update(part)
            if progress:
                progress(len(results), len(tree.files))
    found = [(file, results[file]) for file in tree.files]  # an archive has an order of its own
    return (
        {file: result for file, result in found if isinstance(result, Measures)},
        {file: result for file, result in found if isinstance(result, str)},
    )


def _look(files: list[tuple[ImageFile, Path | bytes]]) -> dict[ImageFile, Measures | str]:
    """The measures of each file, or why it cannot be read."""
    results: dict[ImageFile, Measures | str] = {}
    for file, content in files:
        try:
            picture = decoding.read(content, file.name)
        except decoding.UnreadableImage as error:
            results[file] = error.reason
        else:
            measures = measure(picture.image, picture.form, picture.mode)
            results[file] = measures._replace(several=picture.several)
    return results


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
                images = map(_to_rgb, pixels)
                measures += pool.map(lambda image: measure(image, "", mode), images)
                if progress:
                    progress(len(measures), len(samples))
    return samples, measures


def measure(image: Image.Image, form: str, mode: str) -> Measures:
    """Measure one decoded image in mode RGB."""
    grey = image.convert("L")
    grey.thumbnail((_SHARP_SIDE, _SHARP_SIDE), Image.Resampling.BOX)
    levels = np.asarray(grey, np.float32)
    return Measures(
        image.size,
        form,
        mode,
        _digest(image),
        fingerprint(image),
        float(levels.mean()),
        _sharpness(levels),
    )


def _sharpness(levels: np.ndarray) -> float:
    """The variance of the Laplacian, which is small for a blurred image.

    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.

    Args:
        levels: float32 array (H, W); of less than 3 pixels a side, there is none: 0.
    """
    if min(levels.shape) < 3:
        return 0.0
    centre = levels[1:-1, 1:-1]
    around = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:]
    edges = (around - 4 * centre).ravel()
    return float(edges @ edges / edges.size - edges.mean() ** 2)


def _digest(image: Image.Image) -> bytes:
    """The size tells a 2x3 image from a 3x2 one."""
    key = repr(image.size).encode()
    return hashlib.blake2b(image.tobytes(), digest_size=16, key=key).digest()


def _to_rgb(pixels: np.ndarray) -> Image.Image:
    """uint8 (H, W, C) -> a picture in mode RGB."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
