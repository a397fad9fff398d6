"""Fine-tuning for integers: weights learn to live on the grids that they will be rounded to.

Values are rounded to their grids in the forward pass, and gradients pass as if they were not, but
where a value is clamped (Jacob et al., CVPR 2018, arXiv 1712.05877; the straight-through estimator
is of Bengio et al. 2013, arXiv 1308.3432). What is learned is the answer of the network before
rounding (Hinton et al. 2015, arXiv 1503.02531), so no labels are needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maam.core.signals import check_signals
from maam.data.base import Split
from maam.data.preprocessing import Preprocessing
from maam.deploy.int8 import Grid, Int8Convolution, Int8Network
from maam.deploy.layers import Convolution, Layer, LayeredNetwork
from maam.deploy.quantization import MOST_UNITS
from maam.torch.runtime import current_device

RATE, BATCH = 1e-3, 100
_SMALLEST = 1e-12  # scale of weights


def tune_for_int8(
    network: LayeredNetwork,
    integers: Int8Network,
    split: Split,
    preprocessing: Preprocessing,
    epochs: int,
) -> Iterator[LayeredNetwork]:
    """The network after each epoch, with weights and biases that lose less in integers.

    Args:
        network: in floating point, folded.
        integers: what it has become; its grids of maps stay.
        split: the training images.
        preprocessing: of them.
        epochs: over them, each in an order of its own that is the same in every call.
    """
    device = current_device()
    net, teacher = (RoundedNet(network, each).to(device) for each in (integers, None))
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    starts = range(0, max(len(split) - BATCH + 1, 1), BATCH)  # the last few wait for another epoch
    rng = np.random.default_rng(0)
    for epoch in range(epochs):
        order = rng.permutation(len(split))
        for step, start in enumerate(starts, epoch * len(starts)):
            pixels = split.take(np.sort(order[start : start + BATCH])).pixels()
            images = torch.from_numpy(preprocessing(pixels)).to(device)
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1 - step / (epochs * len(starts)))
            with torch.no_grad():
                wanted = teacher(images).log_softmax(1)
            found = net(images).log_softmax(1)
            loss = F.kl_div(found, wanted, reduction="batchmean", log_target=True)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            check_signals()
        yield net.learned()


class RoundedNet(nn.Module):
    """A layered network whose weights and maps lie on the grids of integers.

    float32 (N, C, H, W), normalised -> logits float32 (N, K).

    Args:
        network: its layers and first weights.
        integers: its grids; nothing is rounded without them.
    """

    def __init__(self, network: LayeredNetwork, integers: Int8Network | None) -> None:
        super().__init__()
        self.network, self.integers = network, integers
        convs = [conv for layer in network.layers for conv in layer.convolutions]
        self.weights = nn.ParameterList(
            [torch.from_numpy(conv.weight.transpose(0, 3, 1, 2).copy()) for conv in convs]
        )
        self.biases = nn.ParameterList([torch.from_numpy(conv.bias.copy()) for conv in convs])

    def forward(self, images: Tensor) -> Tensor:
        grids = None if self.integers is None else self.integers.grids
        maps = [images if grids is None else on_grid(images, grids[0])]
        parameters = iter(zip(self.weights, self.biases, strict=True))
        for number, layer in enumerate(self.network.layers):
            inputs = [maps[each] for each in layer.inputs]
            made = _simple(layer, inputs)
            last = len(layer.convolutions) - 1
            for place, conv in enumerate(layer.convolutions):
                weight, bias = next(parameters)
                rounded = None
                if self.integers is not None:
                    rounded = self.integers.layers[number].convolutions[place]
                    residual = (
                        grids[layer.inputs[0]] if grids and rounded.residual is not None else None
                    )
                    weight = _on_weight_grid(weight, rounded, residual)
                made = _convolve(made, weight, bias, conv)
                if rounded is not None and place < last:
                    made = on_grid(made, rounded.output)
            if layer.residual:
                made = made + inputs[0]
            if grids is not None and number < len(self.network.layers) - 1:
                made = on_grid(made, grids[number + 1])
            maps.append(made)
        return maps[-1].flatten(1)

    def learned(self) -> LayeredNetwork:
        """The network with the weights as they are now."""
        parameters = iter(zip(self.weights, self.biases, strict=True))

        def renewed(conv: Convolution) -> Convolution:
            weight, bias = (each.detach().cpu().numpy() for each in next(parameters))
            return replace(conv, weight=weight.transpose(0, 2, 3, 1).copy(), bias=bias.copy())

        layers = tuple(
            replace(layer, convolutions=tuple(map(renewed, layer.convolutions)))
            for layer in self.network.layers
        )
        return replace(self.network, layers=layers)


def on_grid(x: Tensor, grid: Grid) -> Tensor:
    """The values that the integers of a map stand for."""
    x = x.clamp((-128 - grid.zero) * grid.scale, (127 - grid.zero) * grid.scale)
    return _straight_through(x, torch.round(x / grid.scale) * grid.scale)


def _on_weight_grid(weight: Tensor, conv: Int8Convolution, residual: Grid | None) -> Tensor:
    """Weights (O, I, rows, columns) on the grids that ``deploy.quantization`` would choose."""
    with torch.no_grad():
        scale = weight.abs().amax((1, 2, 3), keepdim=True).clamp_min(_SMALLEST) / 127
        if residual is not None:
            units = residual.scale / (conv.input.scale * scale)
            whole = units.floor().clamp(1, MOST_UNITS)
            scale = torch.where(units >= 1, residual.scale / (conv.input.scale * whole), scale)
        rounded = torch.round(weight / scale) * scale
    return _straight_through(weight, rounded)


def _straight_through(x: Tensor, rounded: Tensor) -> Tensor:
    """``rounded``, with the gradient of ``x``."""
    return x + (rounded - x).detach()


def _simple(layer: Layer, inputs: Sequence[Tensor]) -> Tensor:
    """What a layer without convolutions makes; of others, what their first one reads."""
    if layer.kind == "pool":
        return F.max_pool2d(inputs[0], 2)
    if layer.kind == "mean":
        return inputs[0].mean((2, 3), keepdim=True)
    if layer.kind == "sum":
        channels = layer.shape[2]
        return torch.stack([x.unflatten(1, (-1, channels)).sum(1) for x in inputs]).sum(0)
    return inputs[0]


def _convolve(x: Tensor, weight: Tensor, bias: Tensor, conv: Convolution) -> Tensor:
    made = F.conv2d(x, weight, bias, conv.stride, conv.padding, 1, conv.groups)
    return F.relu(made) if conv.relu else made
