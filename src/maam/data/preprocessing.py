"""From uint8 images to what the network sees."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from maam.data.base import Split
from maam.data.splits import spread

MEASURED = 50_000
_BATCH = 32


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input; stored beside the weights.

    Attributes:
        size: (H, W) in pixels.
        channels: 1 (grey) or 3 (RGB).
        mean, std: one number per channel, in units of [0, 1] pixels.
    """

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @staticmethod
    def fit(images: Split, normalize: str) -> Preprocessing:
        """Measure it on training images.

        Args:
            images: the training images, of which ``MEASURED`` from all over are looked at.
            normalize: ``unit`` (pixels in [0, 1]) or ``standard`` (mean 0, deviation 1).
        """
        height, width, channels = images.image_shape
        mean, std = np.zeros(channels), np.ones(channels)
        if normalize == "standard":
            counts = _histograms(spread(images, MEASURED) if len(images) > MEASURED else images)
            levels = np.arange(256) / 255
            mean = np.array([np.average(levels, weights=count) for count in counts])
            second = np.array([np.average(levels**2, weights=count) for count in counts])
            # An image set of one colour has no deviation to divide by.
            std = np.sqrt(np.maximum(second - mean**2, 1e-6))
        return Preprocessing(
            (height, width), channels, tuple(mean.round(6).tolist()), tuple(std.round(6).tolist())
        )

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Preprocessing:
        """The inverse of ``to_dict``."""
        height, width = values["size"]
        return Preprocessing(
            (height, width), values["channels"], tuple(values["mean"]), tuple(values["std"])
        )

    def to_dict(self) -> dict[str, Any]:
        """For meta.json."""
        return asdict(self)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, C) -> float32 (N, C, H, W)."""
        scale = 1 / (255 * np.asarray(self.std, np.float32))
        shift = np.asarray(self.mean, np.float32) / np.asarray(self.std, np.float32)
        pixels = images * scale.astype(np.float32) - shift
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32)


def _histograms(images: Split) -> np.ndarray:
    """How often each grey level occurs in each channel: int64 (C, 256)."""
    channels = images.image_shape[2]
    counts = np.zeros((channels, 256), np.int64)
    for batch, _ in images.batches(_BATCH):  # which ``bincount`` makes eight times as large
        for channel in range(channels):
            counts[channel] += np.bincount(batch[..., channel].ravel(), minlength=256)
    return counts
