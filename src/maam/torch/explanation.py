"""Where a network of PyTorch looks: class-activation maps, and what its agents add."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maam.core.frameworks import AgentMaps, ClassMaps
from maam.data.preprocessing import Preprocessing
from maam.models.agent_names import linear_agents, module_agents
from maam.torch.maam import MAAM, AgentBlock, AgentExcitation, AgentFusion
from maam.torch.models.maamnet import LinearAgents
from maam.torch.runtime import inferring
from maam.torch.weights import head


@dataclass
class _Seen:
    """What passed through a network: its last maps, the last layer's input, its agents' tensors."""

    maps: Tensor | None = None
    features: Tensor | None = None
    agents: dict[nn.Module, list[Tensor]] = field(default_factory=dict)


def class_maps(
    net: nn.Module,
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
    parameter = next(net.parameters())
    inputs = torch.from_numpy(preprocessing(images)).to(parameter.device, parameter.dtype)
    # Gradients reach the maps even if all parameters are frozen.
    with inferring(net), torch.enable_grad(), _watch(net) as seen:
        logits = net(inputs.requires_grad_().clone())
    given = None if classes is None else torch.as_tensor(np.asarray(classes, np.int64))
    wanted = logits.argmax(1) if given is None else given.to(logits.device)
    weights = _pooled_weights(net, seen)
    exact = weights is not None
    maps = None
    if seen.maps is not None:
        if weights is not None:
            maps = torch.einsum("nc,nchw->nhw", weights[wanted], seen.maps)
        else:
            chosen = logits.gather(1, wanted[:, None].long()).sum()
            (gradient,) = torch.autograd.grad(chosen, seen.maps, allow_unused=True)
            if gradient is not None:  # the logits come from these maps
                maps = (gradient.mean((2, 3), keepdim=True) * seen.maps).sum(1).relu()
    return ClassMaps(
        logits=_array(logits),
        classes=wanted.cpu().numpy(),
        maps=None if maps is None else _array(maps),
        exact=exact,
        agents=_agent_maps(seen),
    )


@contextmanager
def _watch(net: nn.Module) -> Iterator[_Seen]:
    """Note what passes through ``net``."""
    seen, last = _Seen(), head(net)
    owners = {
        block: module
        for module in net.modules()
        if isinstance(module, MAAM)
        for block in module.agents
    }

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and max(output.shape[2:]) > 1:
            seen.maps = output
        if module is last:
            seen.features = inputs[0]
        if isinstance(module, LinearAgents):
            seen.agents[module] = [inputs[0]]
        elif isinstance(module, AgentBlock) and module in owners:
            seen.agents.setdefault(owners[module], []).append(output)

    hooks = [module.register_forward_hook(note) for module in net.modules()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _pooled_weights(net: nn.Module, seen: _Seen) -> Tensor | None:
    """The last layer's weights (K, C), if it sees the mean of the last maps' C channels."""
    classifier = head(net)
    if not isinstance(classifier, nn.Linear) or seen.maps is None or seen.features is None:
        return None
    means = seen.maps.mean((2, 3))
    same = means.shape == seen.features.shape and torch.allclose(
        means, seen.features, rtol=1e-3, atol=1e-5
    )
    return classifier.weight if same else None


def _agent_maps(seen: _Seen) -> AgentMaps | None:
    """Those of the last module with the largest maps."""
    found: AgentMaps | None = None
    with torch.no_grad():
        for module, tensors in seen.agents.items():
            if isinstance(module, LinearAgents):
                names, parts = linear_agents(module.agents), _linear_parts(module, tensors[0])
            else:
                assert isinstance(module, MAAM)
                names, parts = module_agents(module.spec), _module_parts(module, tensors)
            maps = _array(torch.stack([part.square().mean(1).sqrt() for part in parts], 1))
            if found is None or maps.shape[2] >= found.maps.shape[2]:
                found = AgentMaps(names, maps)
    return found


def _linear_parts(module: LinearAgents, x: Tensor) -> list[Tensor]:
    """Each agent's part of the sum."""
    weights, side = module.fusion.weights(), module.side
    parts = []
    for number in range(len(module.agents)):
        values = module.agent_of[:, number] * weights[number]
        kernel = (module.taps @ (module.positions * values[:, None])).reshape(-1, 1, side, side)
        padding, groups = side // 2, module.channels
        parts.append(F.conv2d(x, kernel, None, module.stride, padding, groups=groups))
    return parts


def _module_parts(module: MAAM, tensors: list[Tensor]) -> list[Tensor]:
    """Each agent's part of the sum; its maps as they are where there is none, or where folding has
    put the weights into the agents.
    """
    stacked = torch.cat(tensors, 1)
    parts = list(stacked.chunk(module.spec.agents, 1))
    fusion = module.fusion
    if isinstance(fusion, AgentFusion):
        return [part * weight for part, weight in zip(parts, fusion.weights(), strict=True)]
    if isinstance(fusion, AgentExcitation):
        weights = fusion.weights(stacked).T[..., None, None, None]  # (A, N, 1, 1, 1)
        return [part * weight for part, weight in zip(parts, weights, strict=True)]
    return parts


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
