"""The paper's classifier (equations 4 to 8); ``variants.MAAM_VARIANTS`` lists its variants.

    image -> MAAM -> (128, H/2, W/2) -> flatten -> d -> num_classes

At 32x32 the flattened map has 32,768 entries, so with the d = 256 of equation 8 the first dense
layer alone has 8,388,608 weights. The paper's "2.3M parameters" hold with d = 64 (``maam-2.3m``).
"""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, nn

from maam.mindspore.maam import MAAM
from maam.models.registry import check_size
from maam.models.variants import CHANNELS


class MAAMClassifier(nn.Cell):
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
        self.hidden = nn.Dense(CHANNELS * (height // 2) * (width // 2), hidden)
        self.relu = nn.ReLU()
        self.classifier = nn.Dense(hidden, num_classes)

    def construct(self, x: Tensor) -> Tensor:
        features = self.flatten(self.maam(x))
        return self.classifier(self.relu(self.hidden(features)))
