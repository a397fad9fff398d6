"""SeparableResNet in PyTorch; the mirror of ``maam.mindspore.models.separable``, which names its
source and what differs from it.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from maam.models.registry import check_size
from maam.torch.ops.depthwise import DepthwiseConv2d

SMALLEST = 4  # pixels a side: two halvings leave one


class NormConv(nn.Module):
    """GELU(conv(BatchNorm(x))): the norm comes first, and the convolution has no bias.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), rounded up.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd side length of the kernel.
        stride: 1 or 2.
        depthwise: each channel has a kernel of its own; in_channels = out_channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        layer = DepthwiseConv2d if depthwise else nn.Conv2d
        self.conv = layer(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            kernel_size // 2,
            groups=in_channels if depthwise else 1,
            bias=False,
        )
        self.activation = nn.GELU(approximate="tanh")

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.conv(self.norm(x)))


class SeparableConv(nn.Module):
    """A depthwise convolution, then a 1x1 one: (N, C, H, W) -> (N, out_channels, H', W')."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.depthwise = NormConv(in_channels, in_channels, kernel_size, stride, depthwise=True)
        self.pointwise = NormConv(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class SeparableBlock(nn.Module):
    """x + F(x), where F is a ``SeparableConv``, which keeps the shape."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.layer = SeparableConv(channels, channels, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x)


class SeparableResNet(nn.Module):
    """Stages of 16, 32, 64 times ``width`` channels: (N, C, H, W) -> logits (N, K).

    Args:
        num_classes, in_channels, image_size: the shape.
        width: multiplies the channels.
        blocks: of each stage.
        kernel_size: of the depthwise convolutions.

    Raises:
        ValueError: less than 4 pixels a side.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
        width: int,
        blocks: Sequence[int],
        kernel_size: int = 5,
    ) -> None:
        super().__init__()
        check_size(image_size, SMALLEST)
        channels = 16 * width
        self.stem = NormConv(in_channels, channels)
        layers: list[nn.Module] = []
        for stage, count in enumerate(blocks):
            if stage:
                layers.append(SeparableConv(channels, 2 * channels, kernel_size, 2))
                channels *= 2
            layers += [SeparableBlock(channels, kernel_size) for _ in range(count)]
        self.blocks = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))
