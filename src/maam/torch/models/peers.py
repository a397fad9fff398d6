"""The small networks that MAAMNet is compared with, in PyTorch; the mirror of
``maam.mindspore.models.peers``, which names their sources and what differs from them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maam.models.registry import check_size
from maam.models.variants import mobilenetv2_blocks
from maam.torch.layers import ConvNorm

SMALLEST = 8  # pixels a side: three halvings leave one


class ResidualBlock(nn.Module):
    """ReLU(F(x) + shortcut(x)), where F is two 3x3 convolutions.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), rounded up.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: 1 or 2.
        tiny: a shortcut that changes the shape is a convolution with bias, without BatchNorm.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, tiny: bool) -> None:
        super().__init__()
        self.first = ConvNorm(in_channels, out_channels, 3, stride)
        self.second = ConvNorm(out_channels, out_channels, activation=None)
        if stride == 1 and in_channels == out_channels:
            self.shortcut = nn.Identity()
        elif tiny:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride)
        else:
            self.shortcut = ConvNorm(in_channels, out_channels, 1, stride, activation=None)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.second(self.first(x)) + self.shortcut(x))


class ResNet(nn.Module):
    """The ResNet for CIFAR: stacks of 16, 32 and 64 channels: (N, C, H, W) -> logits (N, K).

    Args:
        num_classes, in_channels, image_size: the shape.
        blocks: residual blocks of each stack, so that it has 6 * blocks + 2 layers.
        tiny: MLPerf Tiny's form of the shortcut, see ``ResidualBlock``, and of the first weights.

    Raises:
        ValueError: less than 8 pixels a side.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
        blocks: int,
        tiny: bool = False,
    ) -> None:
        super().__init__()
        check_size(image_size, SMALLEST)
        self.stem = ConvNorm(in_channels, 16)
        layers = []
        channels = 16
        for width in (16, 32, 64):
            for number in range(blocks):
                stride = 2 if number == 0 and width > 16 else 1
                layers.append(ResidualBlock(channels, width, stride, tiny))
                channels = width
        self.blocks = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, num_classes)
        draw_convolutions(self, "fan_in" if tiny else "fan_out")
        if tiny:
            nn.init.kaiming_normal_(self.classifier.weight)
            nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


class InvertedResidual(nn.Module):
    """1x1 to ``hidden`` channels unless they are there, depthwise 3x3, linear 1x1; + x if it fits.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), rounded up.
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int, stride: int) -> None:
        super().__init__()
        layers = []
        if hidden != in_channels:
            layers.append(ConvNorm(in_channels, hidden, 1, activation="relu6"))
        layers.append(ConvNorm(hidden, hidden, 3, stride, groups=hidden, activation="relu6"))
        layers.append(ConvNorm(hidden, out_channels, 1, activation=None))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class MobileNetV2(nn.Module):
    """MobileNetV2 for CIFAR, which halves the image three times: (N, C, H, W) -> logits (N, K).

    Stem and second stage have stride 1 instead of ImageNet's 2.

    Args:
        num_classes, in_channels, image_size: the shape.
        width: multiplies all channels but the last 1280.

    Raises:
        ValueError: less than 8 pixels a side.
    """

    def __init__(
        self, num_classes: int, in_channels: int, image_size: tuple[int, int], width: float
    ) -> None:
        super().__init__()
        check_size(image_size, SMALLEST)
        blocks = mobilenetv2_blocks(width)
        self.stem = ConvNorm(in_channels, blocks[0][0], activation="relu6")
        self.blocks = nn.Sequential(*[InvertedResidual(*block) for block in blocks])
        self.head = ConvNorm(blocks[-1][2], 1280, 1, activation="relu6")
        self.classifier = nn.Linear(1280, num_classes)
        draw_convolutions(self, "fan_out")
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.head(self.blocks(self.stem(x))).mean((2, 3)))


class ShuffleUnit(nn.Module):
    """Two branches whose channels alternate in the output (concatenation and channel shuffle).

    With stride 1 each branch has half of the channels, and one leaves them as they are.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), rounded up.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.split = stride == 1
        self.shortcut = nn.Identity()
        if not self.split:
            self.shortcut = nn.Sequential(
                ConvNorm(in_channels, in_channels, 3, stride, groups=in_channels, activation=None),
                ConvNorm(in_channels, half, 1),
            )
        self.branch = nn.Sequential(
            ConvNorm(half if self.split else in_channels, half, 1),
            ConvNorm(half, half, 3, stride, groups=half, activation=None),
            ConvNorm(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1) if self.split else (x, x)
        # (N, C / 2, 2, H, W) -> (N, C, H, W)
        return torch.stack((self.shortcut(left), self.branch(right)), 2).flatten(1, 2)


class ShuffleNetV2(nn.Module):
    """ShuffleNetV2 for CIFAR, which halves the image three times: (N, C, H, W) -> logits (N, K).

    The stem has stride 1, and no pooling follows it, unlike ImageNet's. Weights start as the
    framework has them.

    Args:
        num_classes, in_channels, image_size: the shape.
        widths: channels of the three stages of 4, 8 and 4 units.

    Raises:
        ValueError: less than 8 pixels a side.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
        widths: tuple[int, int, int],
    ) -> None:
        super().__init__()
        check_size(image_size, SMALLEST)
        self.stem = ConvNorm(in_channels, 24)
        units = []
        channels = 24
        for width, count in zip(widths, (4, 8, 4), strict=True):
            for number in range(count):
                units.append(ShuffleUnit(channels, width, 2 if number == 0 else 1))
                channels = width
        self.units = nn.Sequential(*units)
        self.head = ConvNorm(channels, 1024, 1)
        self.classifier = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.head(self.units(self.stem(x))).mean((2, 3)))


def draw_convolutions(net: nn.Module, fan: str) -> None:
    """Draw all convolutions anew from He's normal distribution of ``fan``; biases are 0."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=fan)  # pyright: ignore[reportArgumentType]
            if module.bias is not None:
                nn.init.zeros_(module.bias)
