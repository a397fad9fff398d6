"""The paper's opponents. It names CNN, MLP and RNN without sizes; these are ours.

| name | layers | parameters at 3x32x32, 10 classes |
|---|---|---|
| cnn | conv3-32, pool, conv3-64, pool, dense 128 | 545,098 |
| mlp | dense 512, dense 256 | 1,707,274 |
| rnn | LSTM of 128 units over the rows | 117,002 |
"""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from maam.mindspore.ops import aot, pooled
from maam.mindspore.ops.convolution import Conv2d
from maam.models.registry import check_size


class CNN(nn.Cell):
    """Two convolution-pooling stages and a dense layer: (N, C, H, W) -> logits (N, K)."""

    def __init__(self, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        height, width = image_size
        check_size(image_size, 4)
        self.conv1 = Conv2d(in_channels, 32, 3, bias=True)
        self.conv2 = Conv2d(32, 64, 3, bias=True)
        self.pool = nn.MaxPool2d(2, 2)
        self.relu = nn.ReLU()
        self.flatten = nn.Flatten()
        self.hidden = nn.Dense(64 * (height // 4) * (width // 4), 128)
        self.classifier = nn.Dense(128, num_classes)
        self.native = pooled.usable()
        if self.native:
            self.first, self.second = pooled.operator(), pooled.operator(flat=True)

    def pools(self) -> bool:
        """Whether operators compute what the layers before the dense ones, as they are now, do."""
        first = pooled.serves(self.conv1, self.pool, self.relu)
        return first and pooled.serves(self.conv2, self.pool, self.relu)

    def construct(self, x: Tensor) -> Tensor:
        if self.native and self.training and aot.takes(x) and self.pools():
            maps, _ = self.first(x.transpose(0, 2, 3, 1), self.conv1.weight, self.conv1.bias)
            x, _ = self.second(maps, self.conv2.weight, self.conv2.bias)
        else:
            x = self.relu(self.pool(self.conv1(x)))
            x = self.flatten(self.relu(self.pool(self.conv2(x))))
        return self.classifier(self.relu(self.hidden(x)))


class MLP(nn.Cell):
    """Two hidden layers: (N, C, H, W) -> logits (N, K)."""

    def __init__(self, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.hidden1 = nn.Dense(in_channels * image_size[0] * image_size[1], 512)
        self.hidden2 = nn.Dense(512, 256)
        self.relu = nn.ReLU()
        self.classifier = nn.Dense(256, num_classes)

    def construct(self, x: Tensor) -> Tensor:
        x = self.relu(self.hidden1(self.flatten(x)))
        return self.classifier(self.relu(self.hidden2(x)))


class RNN(nn.Cell):
    """An LSTM that reads the image row by row: (N, C, H, W) -> logits (N, K)."""

    def __init__(self, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.height, self.row = image_size[0], in_channels * image_size[1]
        self.lstm = nn.LSTMCell(self.row, 128)
        self.classifier = nn.Dense(128, num_classes)

    def construct(self, x: Tensor) -> Tensor:
        # (N, C, H, W) -> (N, H, C, W) -> a sequence of H rows of C * W numbers
        rows = x.transpose(0, 2, 1, 3).reshape(-1, self.height, self.row)
        hidden = cell = ops.zeros((x.shape[0], 128), rows.dtype)
        # Unrolled, because MindSpore's ONNX export of nn.LSTM is wrong.
        for row in range(self.height):
            hidden, cell = self.lstm(rows[:, row], (hidden, cell))
        return self.classifier(hidden)
