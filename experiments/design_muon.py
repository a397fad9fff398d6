"""Muon, tried as the optimiser: momentum whose update is made orthogonal for every matrix.

Source: K. Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks",
https://kellerjordan.github.io/posts/muon/, with the five Newton-Schulz steps given there, and the
normalised filters of their CIFAR-10 recipe (github.com/KellerJordan/cifar10-airbench).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from maam.core.config import TrainConfig

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5
OTHERS = 0.25  # the rate of what is no matrix, as a part of the matrices' rate


class Muon(torch.optim.SGD):
    """Muon for filters, SGD with Nesterov momentum for all else; rates are set from outside."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                buffer, momentum = state["momentum_buffer"], group["momentum"]
                gradient = parameter.grad
                if not group["matrices"]:
                    gradient = gradient.add(parameter, alpha=group["weight_decay"])
                buffer.mul_(momentum).add_(gradient)
                update = gradient.add(buffer, alpha=momentum)
                if group["matrices"]:
                    parameter.mul_(len(parameter) ** 0.5 / parameter.norm().clamp(min=1e-8))
                    update = orthogonal(update.flatten(1)).view_as(parameter)
                    parameter.add_(update, alpha=-group["lr"])
                else:
                    parameter.add_(update, alpha=-group["lr"] * OTHERS)


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix whose rows, or columns, are orthonormal, roughly."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).to(matrix.dtype)


def make(groups: list[dict[str, Any]], config: TrainConfig) -> Muon:
    """Muon for the weights of convolutions, as ``maam.torch.register_optimizer`` wants it."""
    split = []
    for group in groups:
        filters = [p for p in group["params"] if p.ndim == 4]
        others = [p for p in group["params"] if p.ndim != 4]
        split += [
            {"params": filters, "matrices": True, "weight_decay": 0.0},
            {**group, "params": others, "matrices": False},
        ]
    split = [group for group in split if group["params"]]
    return Muon(split, config.learning_rate, momentum=config.momentum, nesterov=True)
