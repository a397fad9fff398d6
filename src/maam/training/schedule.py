"""What changes from step to step, and the optimisers' names: one source for both frameworks."""

from __future__ import annotations

import numpy as np

from maam.core.config import TrainConfig

OPTIMIZERS: set[str] = {"adam", "adamw", "sgd"}


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


def average_decay(decay: float, step: int) -> float:
    """The decay of the weights' moving average at a step, counted from 0.

    A young average forgets its random start: the decay grows towards its final value.
    """
    return min(decay, (2 + step) / (11 + step))
