"""SeparableResNet, a network of depthwise and 1x1 convolutions with BatchNorm in front of each.

Source: pierandom/separable-resnet, commit ca960fd, model "4-3": 442,320 parameters, 101.4 million
MACs at 3x32x32. Its README has 92.72 % after 30 epochs for it, as "V2"; the newest code is another,
smaller network, without a published accuracy. GELU is its tanh form, which MindSpore can export (at
most 5e-4 away); first weights are drawn as the framework draws them. A norm in front of a padded
convolution can't be folded into it exactly, so that ``maam.fuse`` leaves this network as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import Tensor, nn

from maam.mindspore.ops.convolution import Conv2d
from maam.mindspore.ops.depthwise import DepthwiseConv2d
from maam.models.registry import check_size

SMALLEST = 4  # pixels a side: two halvings leave one


class NormConv(nn.Cell):
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
        if depthwise:
            self.conv = DepthwiseConv2d(in_channels, kernel_size, stride)
        elif stride == 1:
            self.conv = Conv2d(in_channels, out_channels, kernel_size)  # trains faster
        else:
            same = {"pad_mode": "pad", "padding": kernel_size // 2}
            self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, **same)
        self.activation = nn.GELU()

    def construct(self, x: Tensor) -> Tensor:
        return self.activation(self.conv(self.norm(x)))


class SeparableConv(nn.Cell):
    """A depthwise convolution, then a 1x1 one: (N, C, H, W) -> (N, out_channels, H', W')."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.depthwise = NormConv(in_channels, in_channels, kernel_size, stride, depthwise=True)
        self.pointwise = NormConv(in_channels, out_channels)

    def construct(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class SeparableBlock(nn.Cell):
    """x + F(x), where F is a ``SeparableConv``, which keeps the shape."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.layer = SeparableConv(channels, channels, kernel_size)

    def construct(self, x: Tensor) -> Tensor:
        return x + self.layer(x)


class SeparableResNet(nn.Cell):
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
        layers = []
        for stage, count in enumerate(blocks):
            if stage:
                layers.append(SeparableConv(channels, 2 * channels, kernel_size, 2))
                channels *= 2
            layers += [SeparableBlock(channels, kernel_size) for _ in range(count)]
        self.blocks = nn.SequentialCell(layers)
        self.classifier = nn.Dense(channels, num_classes)

    def construct(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))
