"""MAAM written as Figure 1 draws it, without any rewriting: what the real one is compared with.

Three separate agents, ReLU before pooling, a weighted sum of three products. Tests check that
``maam.MAAM`` gives the same values and gradients; ``step_speed.py`` measures which one is faster.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from maam.mindspore.maam import MAAM
from maam.models.agents import Layers, agent_layers


class PlainMAAM(nn.Cell):
    """(N, in_channels, H, W) -> (N, out_channels, H // 2, W // 2)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_sizes: Sequence[int] = (3, 3, 3),
        layers: str | Layers = "p2",
    ) -> None:
        super().__init__()
        stages = agent_layers(layers, out_channels)
        self.agents = nn.CellList([_agent(in_channels, stages, size) for size in kernel_sizes])
        self.alpha = Parameter(Tensor(np.zeros(len(kernel_sizes), np.float32)), name="alpha")
        self.conv = nn.Conv2d(out_channels, out_channels, 1, pad_mode="valid", has_bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()

    def construct(self, x: Tensor) -> Tensor:
        weights = ops.softmax(self.alpha, -1)
        total = weights[0] * self.agents[0](x)
        for index in range(1, len(self.agents)):
            total = total + weights[index] * self.agents[index](x)
        return self.relu(self.norm(self.conv(total)))


def _agent(in_channels: int, stages: Layers, kernel: int) -> nn.SequentialCell:
    cells: list[nn.Cell] = []
    channels = in_channels
    for width in stages:
        if isinstance(width, str):
            cells.append(nn.MaxPool2d(2, 2))
            continue
        cells += [
            nn.Conv2d(channels, width, kernel, pad_mode="pad", padding=kernel // 2, has_bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        channels = width
    return nn.SequentialCell(cells)


def matching_parameters(plain: PlainMAAM, module: MAAM) -> list[tuple[Parameter, Parameter, slice]]:
    """(plain parameter, the module's parameter, the slice of it that is the same) for all.

    Agents of one kernel size lie side by side in the module: agent i of a block of n owns the
    i-th of n equal parts of axis 0.
    """
    pairs = [
        (plain.alpha, module.fusion.alpha, slice(None)),
        (plain.conv.weight, module.reduce.conv.weight, slice(None)),
    ]
    pairs += [(p, q, slice(None)) for p, q in _norms(plain.norm, module.reduce.norm)]
    agents = iter(plain.agents)
    for block in module.agents:
        kinds = (nn.Conv2d, nn.BatchNorm2d)
        merged_cells = [cell for cell in block.layers if isinstance(cell, kinds)]
        count = block.agents
        for index in range(count):
            agent = next(agents)
            ours = [cell for cell in agent if isinstance(cell, kinds)]
            for own, merged in zip(ours, merged_cells, strict=True):
                cells = (
                    [(own.weight, merged.weight)]
                    if isinstance(own, nn.Conv2d)
                    else _norms(own, merged)
                )
                for p, q in cells:
                    size = q.shape[0] // count
                    pairs.append((p, q, slice(index * size, (index + 1) * size)))
    return pairs


def _norms(own: nn.BatchNorm2d, other: nn.BatchNorm2d) -> list[tuple[Parameter, Parameter]]:
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return [(getattr(own, name), getattr(other, name)) for name in names]
