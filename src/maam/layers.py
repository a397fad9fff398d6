"""What the models are built of beside plain convolutions, in MindSpore."""

from __future__ import annotations

from mindspore import Tensor, float32, nn, ops

from maam import epilogue
from maam.convolution import Conv2d


class NormReLU(nn.BatchNorm2d):
    """BatchNorm, 2x2 max pooling if ``pool``, ReLU, and the weighted sum over agents if asked for.

    Training in float32 uses the fused operator where there is one, all else the plain ones.

    Shapes: (N, channels, H, W) -> the same, or (N, channels, H // 2, W // 2) with pooling; given
    weights (A,), channels / A come out, see ``weighted_sum``.
    """

    def __init__(self, channels: int, pool: bool = False) -> None:
        super().__init__(channels)
        self.pool = nn.MaxPool2d(2, 2) if pool else nn.Identity()
        self.relu = nn.ReLU()
        self.one = Tensor([1.0], float32)
        self.fused = epilogue.usable()
        if self.fused:
            self.operator = epilogue.operator(pool)

    def construct(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        batch = self.use_batch_statistics is not False  # which is how MindSpore freezes norms
        if self.fused and self.training and batch and x.dtype == float32:
            weights = self.one if weights is None else weights
            maps, mean, variance = self.operator(x, self.gamma, self.beta, weights)
            count = x.shape[0] * x.shape[2] * x.shape[3]
            variance = variance * (count / max(count - 1, 1))  # unbiased, as BatchNorm keeps it
            ops.assign_sub(self.moving_mean, self.momentum * (self.moving_mean - mean))
            ops.assign_sub(self.moving_variance, self.momentum * (self.moving_variance - variance))
            return maps
        maps = self.relu(self.pool(super().construct(x)))
        return maps if weights is None else weighted_sum(maps, weights)


def weighted_sum(maps: Tensor, weights: Tensor) -> Tensor:
    """Equation 2: (N, A * C, H, W), agent after agent, weights (A,) or (N, A) -> (N, C, H, W)."""
    _, channels, height, width = maps.shape
    agents = weights.shape[-1]
    channels = channels // agents
    stacked = maps.reshape(-1, agents, channels * height * width)
    weights = weights.reshape(-1, 1, agents).astype(maps.dtype)
    return ops.matmul(weights, stacked).reshape(-1, channels, height, width)


class ConvNorm(nn.Cell):
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
        if stride == groups == 1:
            self.conv = Conv2d(in_channels, out_channels, kernel_size)  # trains faster
        else:
            same = {"pad_mode": "pad", "padding": kernel_size // 2}
            self.conv = nn.Conv2d(
                in_channels, out_channels, kernel_size, stride, group=groups, **same
            )
        self.norm = NormReLU(out_channels) if activation == "relu" else nn.BatchNorm2d(out_channels)
        self.activation = nn.ReLU6() if activation == "relu6" else nn.Identity()

    def construct(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(x)))
