"""The paper's classifier (equations 4 to 8); ``variants.MAAM_VARIANTS`` lists its variants.

    image -> MAAM -> (128, H/2, W/2) -> flatten -> 256 -> num_classes

At 32x32 the flattened map has 32,768 entries, so the first dense layer alone has 8,388,608
weights: the paper's "2.3M parameters" does not fit its own equation 8.
"""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, nn

from maam.mindspore.maam import MAAM
from maam.models.registry import check_size
from maam.models.variants import CHANNELS, HIDDEN


class MAAMClassifier(nn.Cell):
    """MAAM, flatten, two dense layers.

    Shapes: (N, in_channels, H, W) -> logits (N, num_classes).

    Args:
        num_classes: K of equation 7.
        in_channels: channels of the image.
        image_size: (H, W), which fixes the first dense layer's width.
        options: arguments of ``MAAM`` beyond the channels.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
        options: dict[str, Any],
    ) -> None:
        super().__init__()
        height, width = image_size
        check_size(image_size, 2)
        self.maam = MAAM(in_channels, CHANNELS, **options)
        self.flatten = nn.Flatten()
        self.hidden = nn.Dense(CHANNELS * (height // 2) * (width // 2), HIDDEN)
        self.relu = nn.ReLU()
        self.classifier = nn.Dense(HIDDEN, num_classes)

    def construct(self, x: Tensor) -> Tensor:
        features = self.flatten(self.maam(x))
        return self.classifier(self.relu(self.hidden(features)))
