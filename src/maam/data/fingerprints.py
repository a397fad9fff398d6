"""Images told apart by their pixels: eight bytes each, whatever they are called."""

from __future__ import annotations

import hashlib

import numpy as np

from maam.data.base import Split

_BATCH = 256


def fingerprints(split: Split) -> np.ndarray:
    """One number an image, uint64 (N,): equal for identical pixels of the same shape.

    Two different images of 100,000 have the same one with a chance of 3 in 10 billion. A copy that
    was encoded anew, such as a JPEG of a PNG, has other pixels.
    """
    key = repr(tuple(split.image_shape)).encode()
    digests = b"".join(
        hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8, key=key).digest()
        for images, _ in split.batches(_BATCH)
        for image in images
    )
    return np.frombuffer(digests, "<u8").astype(np.uint64)
