"""The paper's classifier (equations 4 to 8) in PyTorch: mirrors ``maam.mindspore.models.maam``."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from maam.models.registry import check_size
from maam.models.variants import CHANNELS
from maam.torch.maam import MAAM


class MAAMClassifier(nn.Module):
    """MAAM, flatten, two dense layers.

    Shapes: (N, in_channels, H, W) -> logits (N, num_classes).

    Args:
        num_classes: K of equation 7.
        in_channels: channels of the image.
        image_size: (H, W), which fixes the first dense layer's width.
        options: arguments of ``MAAM`` beyond the channels.
        hidden: d of equation 8.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
        options: dict[str, Any],
        hidden: int,
    ) -> None:
        super().__init__()
        height, width = image_size
        check_size(image_size, 2)
        self.maam = MAAM(in_channels, CHANNELS, **options)
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(CHANNELS * (height // 2) * (width // 2), hidden)
        self.relu = nn.ReLU()
        self.classifier = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.flatten(self.maam(x))
        return self.classifier(self.relu(self.hidden(features)))
