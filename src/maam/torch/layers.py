"""What the models are built of beside plain convolutions, in PyTorch."""

from __future__ import annotations

from torch import Tensor, nn

from maam.torch.ops.depthwise import DepthwiseConv2d
from maam.torch.ops.normalization import norm_activation


class ConvNorm(nn.Module):
    """Convolution without bias, BatchNorm, and an activation.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), rounded up.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd side length of the kernel.
        stride: 1 or 2.
        groups: the channels fall into so many groups that do not see each other.
        activation: "relu", "relu6", or None.
    """

    native = True  # it has operators of ours

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        groups: int = 1,
        activation: str | None = "relu",
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        layer = DepthwiseConv2d if groups == in_channels == out_channels else nn.Conv2d
        self.conv = layer(
            in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = {"relu": nn.ReLU, "relu6": nn.ReLU6, None: nn.Identity}[activation]()

    def forward(self, x: Tensor) -> Tensor:
        return norm_activation(self.conv(x), self.norm, self.activation)
