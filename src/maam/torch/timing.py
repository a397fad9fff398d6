"""How long a training step takes here."""

from __future__ import annotations

import copy
import time
from statistics import median

import torch
from torch import nn

from maam.core.config import TrainConfig
from maam.core.signals import check_signals
from maam.torch.runtime import current_device, place
from maam.torch.step import make_optimizer, make_train_step, set_training, update_average
from maam.torch.weights import named_tensors


def time_step(
    net: nn.Module,
    config: TrainConfig,
    num_classes: int,
    image_shape: tuple[int, int, int],
    steps: int = 4,
) -> float:
    """Median seconds of a training step on random images.

    Args:
        net: the network; a copy of it is trained.
        config: its batch size, optimiser, averaging and precision are used.
        num_classes: of the network.
        image_shape: (C, H, W).
        steps: timed, after a first one that is not.
    """
    net = place(copy.deepcopy(net))
    set_training(net)
    step = make_train_step(net, make_optimizer(net, config), config)
    live, means = named_tensors(net), named_tensors(copy.deepcopy(net)) if config.ema else {}
    device = current_device()
    images = torch.rand((config.batch_size, *image_shape)).to(
        device, memory_format=torch.channels_last
    )
    labels = torch.arange(config.batch_size, device=device) % num_classes
    seconds = []
    for _ in range(1 + steps):
        start = time.perf_counter()
        loss, _ = step(images, labels, 0.0)
        if means:
            update_average(means, live, config.ema)
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - start)
        check_signals()
    return median(seconds[1:])
