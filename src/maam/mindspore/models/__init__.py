"""Every model by name, in MindSpore: ``create_model("maam", num_classes=10)``."""

from __future__ import annotations

from mindspore import nn

from maam.mindspore.models.own import check_model
from maam.models.registry import build_model

__all__ = ["check_model", "create_model"]


def create_model(
    name: str,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: tuple[int, int] = (32, 32),
) -> nn.Cell:
    """A freshly initialised network: (N, in_channels, H, W) -> logits (N, num_classes).

    Raises:
        MaamError: no model has this name (the nearest one is suggested), or it can't take
            images of this size.
    """
    return build_model("mindspore", name, num_classes, in_channels, image_size)
