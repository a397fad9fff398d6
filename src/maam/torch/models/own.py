"""A network of one's own in PyTorch, checked before anything is trained."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from maam.core.errors import MaamError
from maam.models.own import NOT_FINITE, TRIALS, calling, check_framework, check_logits
from maam.torch.runtime import current_device
from maam.torch.weights import named_tensors


def check_model(
    net: Any, num_classes: int, in_channels: int, image_size: tuple[int, int]
) -> nn.Module:
    """A user's network, if it maps float32 (N, in_channels, H, W) to logits (N, num_classes).

    A copy of it is called, on images that are all 0.

    Returns:
        The network itself, on the device of ``set_device``.

    Raises:
        MaamError: it is no ``nn.Module``, lies on another device, has nothing to train or values
            that are not finite, can't be copied, fails, or gives something else.
    """
    check_framework(net, "torch")
    name, device = type(net).__name__, current_device()
    parameters = list(net.parameters())
    if any(isinstance(each, nn.UninitializedParameter) for each in parameters):
        raise MaamError(f"`model`: {name} has lazy parameters: call it once on an image first")
    if not any(each.requires_grad for each in parameters):
        raise MaamError(f"`model`: {name} has no parameter to train")
    for where in {each.device for each in parameters}:
        if where.type not in ("cpu", device.type):
            raise MaamError(
                f"`model`: {name} has parameters on {where}, and {device} computes: move it to the "
                "CPU first, or choose another `device`"
            )
    for key, tensor in named_tensors(net).items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise MaamError(NOT_FINITE.format(name=name, tensor=key))
    with calling(net, (in_channels, *image_size)), torch.no_grad():
        trial = copy.deepcopy(net).to(device)
        for count, training in TRIALS:
            images = torch.zeros((count, in_channels, *image_size), device=device)
            output = trial.train(training)(images)
            floats = isinstance(output, Tensor) and output.is_floating_point()
            check_logits(net, tuple(output.shape) if floats else None, count, num_classes)
    return net.to(device)
