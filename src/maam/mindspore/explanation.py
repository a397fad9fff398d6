"""Where a network of MindSpore looks: class-activation maps, and what its agents add."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from maam.core.frameworks import AgentMaps, ClassMaps
from maam.data.preprocessing import Preprocessing
from maam.mindspore.maam import MAAM, AgentBlock, AgentExcitation, AgentFusion
from maam.mindspore.models.maamnet import LinearAgents
from maam.mindspore.runtime import inferring
from maam.mindspore.weights import head
from maam.models.agent_names import linear_agents, module_agents


@dataclass
class _Seen:
    """What passed through a network: its last maps, the last layer's input, its agents' tensors.

    ``number`` counts the outputs that are maps; ``added`` is added to that of number ``last``.
    """

    maps: Tensor | None = None
    features: Tensor | None = None
    agents: dict[nn.Cell, list[Tensor]] = field(default_factory=dict)
    number: int = 0
    last: int = 0
    added: Tensor | None = None


def class_maps(
    net: nn.Cell,
    images: np.ndarray,
    preprocessing: Preprocessing,
    classes: np.ndarray | None = None,
) -> ClassMaps:
    """Where the evidence for a class lies in images: see ``ClassMaps``.

    The maps are class-activation maps where the last layer sees the mean of
    the last maps over height and width; else Grad-CAM on these.

    Args:
        net: the network; it stays as it is.
        images: uint8 (N, H, W, C), fitted to the network's size.
        preprocessing: how pixels become numbers.
        classes: the class that each map is of, (N,); the likeliest one when None.
    """
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)  # a compiled network calls no hooks
    try:
        with inferring(net):
            inputs = Tensor(preprocessing(images))
            with _watch(net) as seen:
                logits = net(inputs)
            wanted = logits.asnumpy().argmax(1) if classes is None else np.asarray(classes)
            weights = _pooled_weights(net, seen)
            maps = None
            if seen.maps is not None:
                last = seen.maps.asnumpy()
                if weights is not None:
                    maps = np.einsum("nc,nchw->nhw", weights[wanted], last)
                else:
                    gradient = _gradient(net, inputs, wanted, logits.shape[1], seen)
                    maps = np.maximum((gradient.mean((2, 3), keepdims=True) * last).sum(1), 0)
            agents = _agent_maps(seen)
    finally:
        ms.set_context(mode=mode)
    return ClassMaps(
        logits=logits.asnumpy().astype(np.float32),
        classes=wanted,
        maps=None if maps is None else maps.astype(np.float32),
        exact=weights is not None,
        agents=agents,
    )


@contextmanager
def _watch(net: nn.Cell, last: int = 0, added: Tensor | None = None) -> Iterator[_Seen]:
    """Note what passes through ``net``, and add ``added`` to its output number ``last`` of maps."""
    seen, classifier = _Seen(last=last, added=added), head(net)
    cells = [cell for _, cell in net.cells_and_names()]
    owners = {block: cell for cell in cells if isinstance(cell, MAAM) for block in cell.agents}

    def note(cell: nn.Cell, inputs: tuple, output: Any) -> Any:
        if isinstance(output, Tensor) and output.ndim == 4 and max(output.shape[2:]) > 1:
            seen.number += 1
            if seen.added is not None and seen.number == seen.last:
                output = output + seen.added
            seen.maps = output
        if cell is classifier:
            seen.features = inputs[0]
        if isinstance(cell, LinearAgents):
            seen.agents[cell] = [inputs[0]]
        elif isinstance(cell, AgentBlock) and cell in owners:
            seen.agents.setdefault(owners[cell], []).append(output)
        return output

    hooks = [cell.register_forward_hook(note) for cell in cells]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _gradient(
    net: nn.Cell, inputs: Tensor, wanted: np.ndarray, width: int, seen: _Seen
) -> np.ndarray:
    """Of the wanted ones among ``width`` logits, by the last maps: (N, C, h, w)."""
    assert seen.maps is not None
    chosen = Tensor(np.eye(width, dtype=np.float32)[wanted])

    def total(added: Tensor) -> Tensor:
        with _watch(net, seen.number, added):
            return (net(inputs) * chosen).sum()

    gradient = ms.grad(total)(ops.zeros_like(seen.maps))
    assert isinstance(gradient, Tensor)
    return gradient.asnumpy()


def _pooled_weights(net: nn.Cell, seen: _Seen) -> np.ndarray | None:
    """The last layer's weights (K, C), if it sees the mean of the last maps' C channels."""
    classifier: Any = head(net)
    if not isinstance(classifier, nn.Dense) or seen.maps is None or seen.features is None:
        return None
    means, features = seen.maps.asnumpy().mean((2, 3)), seen.features.asnumpy()
    same = means.shape == features.shape and np.allclose(means, features, rtol=1e-3, atol=1e-5)
    return classifier.weight.asnumpy() if same else None


def _agent_maps(seen: _Seen) -> AgentMaps | None:
    """Those of the last module with the largest maps."""
    found: AgentMaps | None = None
    for cell, tensors in seen.agents.items():
        if isinstance(cell, LinearAgents):
            names, parts = linear_agents(cell.agents), _linear_parts(cell, tensors[0])
        else:
            assert isinstance(cell, MAAM)
            names, parts = module_agents(cell.spec), _module_parts(cell, tensors)
        maps = np.stack([np.sqrt(np.square(part).mean(1)) for part in parts], 1)
        if found is None or maps.shape[2] >= found.maps.shape[2]:
            found = AgentMaps(names, maps.astype(np.float32))
    return found


def _linear_parts(cell: LinearAgents, x: Tensor) -> list[np.ndarray]:
    """Each agent's part of the sum."""
    weights, side = cell.fusion.weights().asnumpy(), cell.side
    taps = cell.taps.asnumpy().reshape(cell.channels, -1)
    agent_of, positions = cell.agent_of.asnumpy(), cell.positions.asnumpy()
    parts = []
    for number in range(len(cell.agents)):
        values = agent_of[:, number] * weights[number]
        kernel = (taps @ (positions * values[:, None])).reshape(-1, 1, side, side)
        padding, groups = side // 2, cell.channels
        part = ops.conv2d(x, Tensor(kernel), None, cell.stride, "pad", padding, 1, groups)
        parts.append(part.asnumpy())
    return parts


def _module_parts(cell: MAAM, tensors: list[Tensor]) -> list[np.ndarray]:
    """Each agent's part of the sum; its maps as they are where there is none, or where folding has
    put the weights into the agents.
    """
    stacked = ops.concat(tensors, 1)
    parts = np.split(stacked.asnumpy(), cell.spec.agents, 1)
    fusion = cell.fusion
    if isinstance(fusion, AgentFusion):
        weights = fusion.weights().asnumpy()
    elif isinstance(fusion, AgentExcitation):
        weights = fusion.weights(stacked).asnumpy().T[..., None, None, None]  # (A, N, 1, 1, 1)
    else:
        return parts
    return [part * weight for part, weight in zip(parts, weights, strict=True)]
