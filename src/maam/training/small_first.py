"""Progressive resizing: which epochs see smaller images, and which networks can."""

from __future__ import annotations

from typing import Any

from maam.core.config import TrainConfig
from maam.core.errors import MaamError, first_line
from maam.core.frameworks import Backend
from maam.core.metrics import ROUNDING
from maam.data.augment.resizing import small_size, whole_to_small


def small_epochs(config: TrainConfig) -> int:
    """How many epochs, the first ones, see smaller images (``small_until``); never all of them."""
    return min(int(config.small_until * config.epochs + ROUNDING), config.epochs - 1)


def times_as_long(config: TrainConfig, size: tuple[int, int], done: int) -> float:
    """How many times as long the next epoch takes as the last one, by pixels.

    Args:
        config: the options.
        size: (H, W) of whole images.
        done: epochs.
    """
    return whole_to_small(size) if 0 < done == small_epochs(config) else 1.0


def check_small(model: str, net: Any, image_shape: tuple[int, int, int], backend: Backend) -> None:
    """Check that a network takes smaller images.

    Args:
        model: its name, for the error.
        net: the network.
        image_shape: (H, W, C) of whole images.
        backend: the framework.

    Raises:
        MaamError: it takes one size only, or there is nothing to shrink.
    """
    height, width, channels = image_shape
    small = small_size((height, width))
    if small == (height, width):
        raise MaamError(f"`small_until`: {height}x{width} pixels are few already: leave it out")
    try:
        backend.count_macs(net, (channels, *small))
    except (MaamError, RuntimeError, TypeError, ValueError) as error:
        raise MaamError(
            f"`small_until`: {model}, made for {height}x{width} pixels, takes no images of "
            f"{small[0]}x{small[1]} ({first_line(error)}): leave it out"
        ) from None
