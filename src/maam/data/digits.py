"""scikit-learn's digits: 1,797 grey images of handwritten digits, 8 x 8; nothing to download."""

from __future__ import annotations

import numpy as np

from maam.data.base import Dataset, Split
from maam.data.splits import hold_out
from maam.errors import MaamError

CLASSES = tuple("0123456789")
TEST_FRACTION = 0.2
TEST_SEED = 0  # fixed, so that every run is tested on the same images


def load(val_fraction: float, seed: int) -> Dataset:
    """Load the digits with a fixed, stratified test split of 20 %.

    Args:
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
        raise MaamError(
            "the digits data set needs scikit-learn: pip install 'maam[train]'"
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    images = np.rint(pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    names = tuple(f"digits/{index}" for index in range(len(labels)))
    everything = Split(images, labels.astype(np.int32), names)
    train, test = hold_out(everything, TEST_FRACTION, TEST_SEED)
    train, val = hold_out(train, val_fraction, seed)
    return Dataset("digits", "scikit-learn digits", CLASSES, train, val, test, augment="crop")
