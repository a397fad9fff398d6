"""The paper's classifier around other forms of its module: what benchmarks put beside ``maam``."""

from __future__ import annotations

from mindspore import Tensor, nn, ops
from plain_maam import PlainMAAM

from maam.mindspore.maam import AgentFusion
from maam.mindspore.models import create_model


class FusedSumMAAM(PlainMAAM):
    """PlainMAAM with equation 9 in it: the weighted sum as one matrix product, nothing else."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        self.fusion = AgentFusion(len(self.agents))
        self.fusion.alpha = self.alpha

    def construct(self, x: Tensor) -> Tensor:
        maps = ()
        for agent in self.agents:
            maps = (*maps, agent(x))
        return self.relu(self.norm(self.conv(self.fusion(ops.concat(maps, 1)))))


def classifier(module: nn.Cell) -> nn.Cell:
    """Model ``maam`` with ``module``, (N, 3, H, W) -> (N, 128, H / 2, W / 2), in MAAM's place."""
    for name, parameter in module.parameters_and_names():
        parameter.name = f"plain.{name}"  # two parameters of one name would be refused
    net = create_model("maam")
    return nn.SequentialCell(module, net.flatten, net.hidden, net.relu, net.classifier)


def plain() -> nn.Cell:
    """Figure 1 to the letter: three agents, and the sum of three products."""
    return classifier(PlainMAAM(3, 128))


def fused_sum() -> nn.Cell:
    """The same, but for the sum, which is one matrix product."""
    return classifier(FusedSumMAAM(3, 128))


def shipped() -> nn.Cell:
    """The model of the package."""
    return create_model("maam")
