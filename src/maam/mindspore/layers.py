"""What the models are built of beside plain convolutions, in MindSpore."""

from __future__ import annotations

from mindspore import Tensor, float32, nn, ops

from maam.mindspore.ops import aot, chain, normalization
from maam.mindspore.ops.chain import Chain
from maam.mindspore.ops.convolution import Conv2d
from maam.mindspore.ops.normalization import weighted_sum


class FusedNorm(nn.Cell):
    """How BatchNorm, 2x2 max pooling, ReLU and a weighted sum that follow each other are computed.

    It holds none of them. Training in float32 uses one operator for all where there is one, all
    else the cells themselves.

    Args:
        pool: whether there is a pooling.
    """

    def __init__(self, pool: bool = False) -> None:
        super().__init__()
        self.one = Tensor([1.0], float32)
        self.pools = pool
        self.native = normalization.usable()
        if self.native:
            self.operator = normalization.operator(pool)

    def serves(self, norm: nn.Cell, pool: nn.Cell, relu: nn.Cell) -> bool:
        """Whether the operator computes what these cells, as they are now, do."""
        pools = normalization.halves(pool) if self.pools else aot.is_exactly(pool, nn.Identity)
        return pools and aot.is_exactly(relu, nn.ReLU) and normalization.serves(norm)

    def construct(
        self, x: Tensor, norm: nn.BatchNorm2d, pool: nn.Cell, relu: nn.Cell, weights: Tensor | None
    ) -> Tensor:
        training = self.training and norm.training
        if self.native and training and aot.takes(x) and self.serves(norm, pool, relu):
            weights = self.one if weights is None else weights
            maps, mean, variance = self.operator(x, norm.gamma, norm.beta, weights)
            track(norm, mean, variance, x.shape[0] * x.shape[2] * x.shape[3])
            return maps
        maps = relu(pool(norm(x)))
        return maps if weights is None else weighted_sum(maps, weights)


def track(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Let a norm's running statistics follow those of a batch.

    Args:
        norm: the layer.
        mean: of each channel.
        variance: of each channel, biased; BatchNorm keeps the unbiased one.
        count: of values that each is of.
    """
    variance = variance * (count / max(count - 1, 1))
    old_mean, old_variance = norm.moving_mean, norm.moving_variance
    ops.assign_sub(old_mean, norm.momentum * (old_mean - mean))
    ops.assign_sub(old_variance, norm.momentum * (old_variance - variance))


def pooled(maps: Tensor) -> Tensor:
    """The mean over all pixels, channels last: (N, H, W, C) -> (N, C)."""
    batch, height, width, channels = maps.shape
    share = ops.ones((batch, 1, height * width), maps.dtype) / (height * width)
    return ops.matmul(share, maps.reshape(batch, -1, channels)).reshape(batch, channels)


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
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = {"relu": nn.ReLU, "relu6": nn.ReLU6, None: nn.Identity}[activation]()
        self.fused = FusedNorm() if activation == "relu" else None
        self.pool = nn.Identity()
        self.stride, self.relu, self.own = stride, activation == "relu", type(self) is ConvNorm

    def chains(self) -> bool:
        """Whether a chain computes what this layer, as it is now, does."""
        if not (self.own and aot.is_exactly(self.pool, nn.Identity)):
            return False
        if not aot.is_exactly(self.activation, nn.ReLU if self.relu else nn.Identity):
            return False
        if self.norm.training != self.training:
            return False
        return chain.serves(self.norm) and chain.serves_convolution(self.conv, self.stride)

    def chained(self, x: Tensor, chain: Chain) -> Tensor:
        """The same by a chain of this one layer: channels last."""
        return chain(x, (self.conv.weight,), (self.norm,))

    def construct(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        if self.fused is not None:
            return self.fused(maps, self.norm, self.pool, self.activation, None)
        return self.activation(self.norm(maps))
