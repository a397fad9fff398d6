"""A network of one's own in MindSpore, checked before anything is trained."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np
from mindspore import Tensor, nn

from maam.core.errors import MaamError
from maam.models.own import NOT_FINITE, TRIALS, calling, check_framework, check_logits


def check_model(
    net: Any, num_classes: int, in_channels: int, image_size: tuple[int, int]
) -> nn.Cell:
    """A user's network, if it maps float32 (N, in_channels, H, W) to logits (N, num_classes).

    A copy of it is called, on images that are all 0.

    Returns:
        The network itself.

    Raises:
        MaamError: it is no ``nn.Cell``, has nothing to train, two parameters of one name or values
            that are not finite, can't be copied, fails, or gives something else.
    """
    check_framework(net, "mindspore")
    name = type(net).__name__
    if not net.trainable_params():
        raise MaamError(f"`model`: {name} has no parameter to train")
    names = Counter(parameter.name for parameter in net.get_parameters())
    if twice := [each for each, count in names.items() if count > 1]:
        raise MaamError(f"`model`: {name} has two parameters called {twice[0]}: rename one")
    for parameter in net.get_parameters():
        if not np.isfinite(parameter.asnumpy()).all():
            raise MaamError(NOT_FINITE.format(name=name, tensor=parameter.name))
    with calling(net, (in_channels, *image_size)):
        trial = copy.deepcopy(net)
        for count, training in TRIALS:
            images = Tensor(np.zeros((count, in_channels, *image_size), np.float32))
            output = trial.set_train(training)(images)
            floats = isinstance(output, Tensor) and output.is_floating_point()
            check_logits(net, tuple(output.shape) if floats else None, count, num_classes)
    return net
