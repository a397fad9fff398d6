"""How long a training step takes here."""

from __future__ import annotations

import time
from statistics import median

import torch

from maam.core.config import TrainConfig
from maam.core.signals import check_signals
from maam.torch.models import create_model
from maam.torch.runtime import current_device, place
from maam.torch.step import make_optimizer, make_train_step, set_training


def time_step(
    config: TrainConfig, num_classes: int, image_shape: tuple[int, int, int], steps: int = 4
) -> float:
    """Median seconds of a training step of ``config.model`` on random images.

    Args:
        config: names the model; its batch size, optimiser and precision are used.
        num_classes: of the network.
        image_shape: (C, H, W).
        steps: timed, after a first one that is not.
    """
    channels, height, width = image_shape
    net = place(create_model(config.model, num_classes, channels, (height, width)))
    set_training(net)
    step = make_train_step(net, make_optimizer(net, config), config)
    device = current_device()
    images = torch.rand((config.batch_size, *image_shape)).to(
        device, memory_format=torch.channels_last
    )
    labels = torch.arange(config.batch_size, device=device) % num_classes
    seconds = []
    for _ in range(1 + steps):
        start = time.perf_counter()
        loss, _ = step(images, labels, 0.0)
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - start)
        check_signals()
    return median(seconds[1:])
