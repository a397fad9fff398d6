"""A network in training as one piece: recorded as CUDA graphs, or compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from maam.core.config import TrainConfig
from maam.core.errors import MaamError
from maam.models.widths import model_row

# What PyTorch 2.11 says of a recorded network, whose gradients come from another stream
_WARNINGS = "The AccumulateGrad node's stream", "Attempting to run cuBLAS, but there was no current"


def records(config: TrainConfig, device: torch.device) -> bool:
    """Whether a training records its network as CUDA graphs: ours on CUDA, and others if asked to,
    for a recorded network takes the same way through its code at every step."""
    ours = model_row(config.model) is not None
    asked = config.mode == "graph" or (config.mode == "auto" and ours)
    return device.type == "cuda" and asked


def recorded(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network with both passes recorded as CUDA graphs, at the first batch of each shape.

    A graph is one launch where a small network has hundreds, which take longer than their work.

    Raises:
        MaamError: when it is called first: the network can't be recorded.
    """
    for text in _WARNINGS:
        warnings.filterwarnings("ignore", text)
    calls: dict[torch.Size, Callable[[Tensor], Tensor]] = {}

    def forward(images: Tensor) -> Tensor:
        if images.shape not in calls:
            buffers = [(buffer, buffer.clone()) for buffer in net.buffers()]
            try:
                call: Any = torch.cuda.make_graphed_callables(_Pass(net), (images.clone(),))
            except RuntimeError as error:
                reason = " ".join(str(error).split())[:200]
                text = f"`model` can't be recorded as a CUDA graph, use `mode=eager` ({reason})"
                raise MaamError(text) from None
            with torch.no_grad():  # recording tries the network on some batches
                for buffer, before in buffers:
                    buffer.copy_(before)
            calls[images.shape] = call
        return calls[images.shape](images)

    return forward


class _Pass(nn.Module):
    """A network whose own ``forward`` stays as it is when this is recorded."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)


def compiled(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network by ``torch.compile``.

    Raises:
        MaamError: when it is called first: it can't be compiled here.
    """
    call = torch.compile(net, dynamic=False)  # anew for smaller images

    def forward(images: Tensor) -> Tensor:
        try:
            return call(images)
        except RuntimeError as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            reason = " ".join(str(error).split())[:200]
            raise MaamError(
                f"`mode=graph`: PyTorch can't compile here, use `mode=eager` ({reason})"
            ) from None

    return forward
