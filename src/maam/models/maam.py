"""The paper's classifier (equations 4 to 8), its readings and its ablations.

    image -> MAAM -> (128, H/2, W/2) -> flatten -> 256 -> num_classes

At 32x32 the flattened map has 32,768 entries, so the first dense layer alone has 8,388,608
weights: the paper's "2.3M parameters" does not fit its own equation 8.
"""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, nn

from maam.module import MAAM

CHANNELS = 128  # C' of equation 4
HIDDEN = 256  # d of equation 8

# name -> (description, arguments of MAAM)
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "maam": ("the paper's model: three agents, conv3-64, pool, conv3-128", {}),
    "maam-p1": ("reading p1: an agent is conv3-128, pool", {"reading": "p1"}),
    "maam-p3": ("reading p3: an agent is conv3-32, conv3-128, pool", {"reading": "p3"}),
    "maam-k135": ("agents of kernel sizes 1, 3, 5", {"kernel_sizes": (1, 3, 5)}),
    "maam-k357": ("agents of kernel sizes 3, 5, 7", {"kernel_sizes": (3, 5, 7)}),
    "maam-multires": ("agents at 1/1, 1/2, 1/4 resolution", {"resolutions": (1, 2, 4)}),
    "maam-no-attention": ("ablation o/Agent Attention: fixed weights 1/3", {"learned": False}),
    "maam-no-reduce": ("ablation o/Reduce Layer: no 1x1 compression", {"reduce": False}),
    "maam-cnn": (
        "ablation t/CNN: one plain branch, no fusion, no compression",
        {"kernel_sizes": (3,), "learned": False, "reduce": False},
    ),
}


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
        self, num_classes: int, in_channels: int, image_size: tuple[int, int], options: dict
    ) -> None:
        super().__init__()
        height, width = image_size
        if min(height, width) < 2:
            raise ValueError(f"images of {height}x{width} pixels are too small for this model")
        self.maam = MAAM(in_channels, CHANNELS, **options)
        self.flatten = nn.Flatten()
        self.hidden = nn.Dense(CHANNELS * (height // 2) * (width // 2), HIDDEN)
        self.relu = nn.ReLU()
        self.classifier = nn.Dense(HIDDEN, num_classes)

    def construct(self, x: Tensor) -> Tensor:
        features = self.flatten(self.maam(x))
        return self.classifier(self.relu(self.hidden(features)))
