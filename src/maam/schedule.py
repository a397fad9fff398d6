"""The learning rate of every step."""

from __future__ import annotations

import numpy as np

from maam.config import TrainConfig


def learning_rates(config: TrainConfig, steps_per_epoch: int) -> np.ndarray:
    """The rate of every step, float32 (epochs * steps_per_epoch,).

    A straight warm-up from 0, then half a cosine to 0 (Loshchilov & Hutter 2017), a straight line
    to 0, or a constant.
    """
    steps = config.epochs * steps_per_epoch
    warmup = min(round(config.warmup_epochs * steps_per_epoch), steps)
    rise = (np.arange(warmup) + 1) / max(warmup, 1)
    progress = np.arange(steps - warmup) / max(steps - warmup, 1)
    fall = {
        "cosine": (1 + np.cos(np.pi * progress)) / 2,
        "triangular": 1 - progress,
        "constant": np.ones_like(progress),
    }[config.schedule]
    return (config.learning_rate * np.concatenate([rise, fall])).astype(np.float32)
