"""The paper's opponents, in PyTorch; the mirror of ``maam.mindspore.models.baselines``."""

from __future__ import annotations

from torch import Tensor, nn

from maam.models.registry import check_size


class CNN(nn.Module):
    """Two convolution-pooling stages and a dense layer: (N, C, H, W) -> logits (N, K)."""

    def __init__(self, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        height, width = image_size
        check_size(image_size, 4)
        self.conv1 = nn.Conv2d(in_channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.pool = nn.MaxPool2d(2, 2)
        self.relu = nn.ReLU()
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(64 * (height // 4) * (width // 4), 128)
        self.classifier = nn.Linear(128, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.pool(self.conv1(x)))
        x = self.relu(self.pool(self.conv2(x)))
        return self.classifier(self.relu(self.hidden(self.flatten(x))))


class MLP(nn.Module):
    """Two hidden layers: (N, C, H, W) -> logits (N, K)."""

    def __init__(self, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.hidden1 = nn.Linear(in_channels * image_size[0] * image_size[1], 512)
        self.hidden2 = nn.Linear(512, 256)
        self.relu = nn.ReLU()
        self.classifier = nn.Linear(256, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.hidden1(self.flatten(x)))
        return self.classifier(self.relu(self.hidden2(x)))


class RNN(nn.Module):
    """An LSTM that reads the image row by row: (N, C, H, W) -> logits (N, K)."""

    def __init__(self, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.height, self.row = image_size[0], in_channels * image_size[1]
        self.lstm = nn.LSTMCell(self.row, 128)
        self.classifier = nn.Linear(128, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        # (N, C, H, W) -> (N, H, C, W) -> a sequence of H rows of C * W numbers
        rows = x.permute(0, 2, 1, 3).reshape(-1, self.height, self.row)
        hidden = cell = rows.new_zeros(rows.shape[0], 128)
        for row in range(self.height):
            hidden, cell = self.lstm(rows[:, row], (hidden, cell))
        return self.classifier(hidden)
