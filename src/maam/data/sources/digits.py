"""scikit-learn's digits: 1,797 grey images of handwritten digits, 8 x 8; nothing to download."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maam.core.errors import MaamError
from maam.core.frameworks import install
from maam.data.base import ArraySplit, Dataset
from maam.data.files.downloads import Progress
from maam.data.splits import hold_out

CLASSES = tuple("0123456789")
TEST_FRACTION = 0.2
TEST_SEED = 0  # fixed, so that every run is tested on the same images


def load(
    data_dir: Path | None, val_fraction: float, seed: int, progress: Progress | None = None
) -> Dataset:
    """Load the digits with a fixed, stratified test split of 20 %.

    Args:
        data_dir, progress: not needed, the images come with scikit-learn.
        val_fraction: fraction of the training images held out as ``val``, stratified.
        seed: seed of that choice.

    Returns:
        Images uint8 (N, 8, 8, 1), scaled from 0..16 to 0..255.

    Raises:
        MaamError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MaamError(f"the digits data set needs scikit-learn: {install('train')}") from error
    pixels, labels = load_digits(return_X_y=True)
    images = np.rint(pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    names = tuple(f"digits/{index}" for index in range(len(labels)))
    everything = ArraySplit(images, labels.astype(np.int32), names)
    train, test = hold_out(everything, TEST_FRACTION, TEST_SEED)
    train, val = hold_out(train, val_fraction, seed)
    return Dataset("digits", "scikit-learn digits", CLASSES, train, val, test, augment="crop")
