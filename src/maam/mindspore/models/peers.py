"""The small networks that MAAMNet is compared with, as they are published for CIFAR-10.

| name | parameters, million MACs at 3x32x32, 10 classes | source |
|---|---|---|
| resnet8 | 77,946, 12.5 | mlcommons/tiny, benchmark/training/image_classification |
| resnet20 | 272,474, 40.8 | chenyaofo/pytorch-cifar-models |
| mobilenetv2-x0.5 | 700,490, 28.0 | chenyaofo/pytorch-cifar-models |
| mobilenetv2 | 2,236,682, 88.0 | chenyaofo/pytorch-cifar-models |
| shufflenetv2-x0.5 | 352,042, 10.9 | chenyaofo/pytorch-cifar-models |

Papers: He et al. 2016 (arXiv 1512.03385), Sandler et al. 2018 (1801.04381), Ma et al. 2018
(1807.11164). What differs from the sources: resnet8 lacks the 240 biases that its BatchNorm
cancels (78,186 trainable parameters there), pads both sides, and has the epsilon 1e-5 and the
momentum of all models here instead of Keras's 1e-3 and 0.99; its He normal weights are not
truncated; MobileNetV2 has no dropout before its dense layer.
"""

from __future__ import annotations

from mindspore import Tensor, nn, ops
from mindspore.common.initializer import HeNormal, Initializer, Normal, Zero, initializer

from maam.mindspore.layers import ConvNorm, pooled
from maam.mindspore.ops import aot, chain
from maam.mindspore.ops.chain import Chain
from maam.models.registry import check_size
from maam.models.variants import mobilenetv2_blocks

SMALLEST = 8  # pixels a side: three halvings leave one


class ResidualBlock(nn.Cell):
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
            self.shortcut = nn.Conv2d(
                in_channels, out_channels, 1, stride, pad_mode="valid", has_bias=True
            )
        else:
            self.shortcut = ConvNorm(in_channels, out_channels, 1, stride, activation=None)
        self.relu = nn.ReLU()
        self.identity = isinstance(self.shortcut, nn.Identity)
        self.chain = Chain([stride, 1], True, self.identity)
        self.own = type(self) is ResidualBlock
        if isinstance(self.shortcut, ConvNorm):
            self.side = Chain([stride], False)

    def chains(self) -> bool:
        """Whether chains compute what this block and its shortcut, as they are now, do."""
        if not (self.own and aot.is_exactly(self.relu, nn.ReLU)):
            return False
        if self.identity:
            layers = (self.first, self.second)
            if not aot.is_exactly(self.shortcut, nn.Identity):
                return False
        else:
            layers = (self.first, self.second, self.shortcut)
        for layer in layers:
            if not (isinstance(layer, ConvNorm) and layer.chains()):
                return False
            if layer.training != self.training:
                return False
        return True

    def chained(self, x: Tensor) -> Tensor:
        """The same by chains: channels last."""
        shortcut = None if self.identity else self.shortcut.chained(x, self.side)
        weights = self.first.conv.weight, self.second.conv.weight
        return self.chain(x, weights, (self.first.norm, self.second.norm), shortcut)

    def construct(self, x: Tensor) -> Tensor:
        return self.relu(self.second(self.first(x)) + self.shortcut(x))


class ResNet(nn.Cell):
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
        self.blocks = nn.SequentialCell(layers)
        self.classifier = nn.Dense(channels, num_classes)
        draw_convolutions(self, "fan_in" if tiny else "fan_out")
        if tiny:
            draw_dense(self.classifier, HeNormal())
        self.chain = Chain([1], True)
        self.native = chain.usable()

    def chains(self) -> bool:
        """Whether all layers can be chains."""
        if not (isinstance(self.stem, ConvNorm) and self.stem.chains()):
            return False
        if self.stem.training != self.training:
            return False
        for block in self.blocks:
            if not (isinstance(block, ResidualBlock) and block.chains()):
                return False
            if block.training != self.training:
                return False
        return True

    def by_chains(self, x: Tensor) -> Tensor:
        """The logits, where chains are usable; in inference without gradients."""
        x = self.stem.chained(x.transpose(0, 2, 3, 1), self.chain)
        for block in self.blocks:
            x = block.chained(x)
        return self.classifier(pooled(x))

    def construct(self, x: Tensor) -> Tensor:
        if self.native and self.training and aot.takes(x) and self.chains():
            return self.by_chains(x)
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


class InvertedResidual(nn.Cell):
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
        self.layers = nn.SequentialCell(layers)
        self.residual = stride == 1 and in_channels == out_channels

    def construct(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class MobileNetV2(nn.Cell):
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
        self.blocks = nn.SequentialCell([InvertedResidual(*block) for block in blocks])
        self.head = ConvNorm(blocks[-1][2], 1280, 1, activation="relu6")
        self.classifier = nn.Dense(1280, num_classes)
        draw_convolutions(self, "fan_out")
        draw_dense(self.classifier, Normal(0.01))

    def construct(self, x: Tensor) -> Tensor:
        return self.classifier(self.head(self.blocks(self.stem(x))).mean((2, 3)))


class ShuffleUnit(nn.Cell):
    """Two branches whose channels alternate in the output (concatenation and channel shuffle).

    With stride 1 each branch has half of the channels, and one leaves them as they are.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), rounded up.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.half = out_channels // 2
        self.split = stride == 1
        self.shortcut = nn.Identity()
        if not self.split:
            self.shortcut = nn.SequentialCell(
                ConvNorm(in_channels, in_channels, 3, stride, groups=in_channels, activation=None),
                ConvNorm(in_channels, self.half, 1),
            )
        self.branch = nn.SequentialCell(
            ConvNorm(self.half if self.split else in_channels, self.half, 1),
            ConvNorm(self.half, self.half, 3, stride, groups=self.half, activation=None),
            ConvNorm(self.half, self.half, 1),
        )

    def construct(self, x: Tensor) -> Tensor:
        left, right = (x[:, : self.half], x[:, self.half :]) if self.split else (x, x)
        left, right = self.shortcut(left), self.branch(right)
        height, width = left.shape[2:]
        pairs = (-1, self.half, 1, height, width)
        both = ops.concat((left.reshape(pairs), right.reshape(pairs)), 2)
        return both.reshape(-1, 2 * self.half, height, width)


class ShuffleNetV2(nn.Cell):
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
        self.units = nn.SequentialCell(units)
        self.head = ConvNorm(channels, 1024, 1)
        self.classifier = nn.Dense(1024, num_classes)

    def construct(self, x: Tensor) -> Tensor:
        return self.classifier(self.head(self.units(self.stem(x))).mean((2, 3)))


def draw_convolutions(net: nn.Cell, fan: str) -> None:
    """Draw all convolutions anew from He's normal distribution of ``fan``; biases are 0."""
    for _, cell in net.cells_and_names():
        if isinstance(cell, nn.Conv2d):
            _draw(cell, HeNormal(mode=fan))


def draw_dense(layer: nn.Dense, weights: Initializer) -> None:
    """Draw a dense layer anew; its biases are 0."""
    _draw(layer, weights)


def _draw(layer: nn.Conv2d | nn.Dense, weights: Initializer) -> None:
    for parameter, values in ((layer.weight, weights), (layer.bias, Zero())):
        if parameter is not None:
            parameter.set_data(initializer(values, parameter.shape, parameter.dtype).init_data())
