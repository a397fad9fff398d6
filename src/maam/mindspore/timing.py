"""How long a training step takes here."""

from __future__ import annotations

import copy
import time
from statistics import median

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from maam.core.config import TrainConfig
from maam.core.signals import check_signals
from maam.mindspore.step import make_optimizer, make_train_step


def time_step(
    net: nn.Cell,
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
        steps: timed, after a first one, which compiles.
    """
    net = copy.deepcopy(net).set_train(True)
    average = list(copy.deepcopy(net).get_parameters()) if config.ema else []
    for mean in average:  # a graph wants names that differ
        mean.name = f"ema.{mean.name}"
    step = make_train_step(net, make_optimizer(net, config), config, average)
    rng = np.random.default_rng(0)
    images = Tensor(rng.random((config.batch_size, *image_shape), np.float32))
    labels = Tensor(np.arange(config.batch_size) % num_classes, ms.int32)
    zero = Tensor(0.0, ms.float32)
    seconds = []
    for _ in range(1 + steps):
        start = time.perf_counter()
        loss, _ = step(images, labels, zero, zero)
        loss.asnumpy()  # waits for the device
        seconds.append(time.perf_counter() - start)
        check_signals()
    return median(seconds[1:])
