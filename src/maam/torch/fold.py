"""Fold a trained network in PyTorch: the mirror of ``maam.mindspore.fold``."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from maam.models.agents import SUMS, ModuleSpec
from maam.models.folding import EPSILON, float32, fold_agents, fold_maam, fold_norms
from maam.torch.layers import ConvNorm
from maam.torch.maam import MAAM, AgentFusion, Reduce
from maam.torch.models.maamnet import AgentLayer, LinearAgents
from maam.torch.ops.depthwise import DepthwiseConv2d
from maam.torch.runtime import channels_last
from maam.torch.weights import assign_tensors, named_tensors, read_tensors

NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)  # the same in inference

_folds: dict[type[nn.Module], Callable[[Any], nn.Module]] = {}


def register_fold(kind: type[nn.Module], fold: Callable[[Any], nn.Module]) -> None:
    """Say how modules of a class are folded, wherever ``fuse`` meets them.

    Args:
        kind: the class itself; its subclasses are not meant.
        fold: gives a new module that computes the same in inference, its parameters set; or the
            module itself where it can't.
    """
    _folds[kind] = fold


class FoldedMAAM(MAAM):
    """What ``fuse`` makes of ``MAAM``: no norms, and a plain sum in place of a weighted one.

    Shapes are those of ``MAAM``.
    """

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(**vars(spec))
        for block in self.agents:
            block.layers = nn.Sequential(
                OrderedDict(
                    (name, _with_bias(layer) if isinstance(layer, nn.Conv2d) else layer)
                    for name, layer in block.get_submodule("layers").named_children()
                    if not isinstance(layer, nn.BatchNorm2d)
                )
            )
        if spec.reduce:
            self.reduce = _without_norm(self.reduce)
        self.channels = spec.out_channels
        self.sums = spec.fusion in SUMS
        if self.sums:
            self.fusion = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if not self.sums:
            return super().forward(x)
        return self.reduce(agent_sum([agent(x) for agent in self.agents], self.channels))


def agent_sum(blocks: Sequence[Tensor], channels: int) -> Tensor:
    """The sum of all agents: maps (N, agents * channels, H, W) of blocks -> (N, channels, H, W)."""
    total = None
    for block in blocks:
        for agent in block.split(channels, 1) if block.shape[1] > channels else (block,):
            total = agent if total is None else total + agent
    assert total is not None  # a MAAM has an agent
    return total


def foldable(net: nn.Module) -> list[str]:
    """What ``fuse`` folds of a network, without what lies inside it: ``body.0 (MAAM)``."""
    paths: list[str] = []
    found = []
    for path, module in copy.deepcopy(net).named_modules():
        inside = any(not other or path.startswith(f"{other}.") for other in paths)
        if not inside and _folded(module) is not module:
            paths.append(path)
            found.append(f"{path or 'all'} ({type(module).__name__})")
    return found


def fuse(net: nn.Module) -> nn.Module:
    """A copy of a network for inference, its modules folded; exact but for rounding.

    ``MAAM``, ``AgentLayer``, every ``ConvNorm``, and what ``register_fold`` was told of, fold. One
    that was altered so that folding would change its values stays as it is.

    Args:
        net: any network, such as ``create_model`` or ``load_model`` gives it; it stays as it is.
            What has been folded already, or holds none of these, is only copied.

    Returns:
        The copy, in inference mode, on the same device.

    Example:
        >>> net, meta = maam.torch.load_model("runs/digits-maam")
        >>> small = maam.torch.fuse(net)
    """
    net = _folded(copy.deepcopy(net))
    folded: dict[nn.Module, nn.Module] = {}  # a module may have several places
    for parent in list(net.modules()):
        for name, child in list(parent._modules.items()):
            if child is None:
                continue
            if child not in folded:
                folded[child] = _folded(child)
            if folded[child] is not child:
                setattr(parent, name, folded[child])
    return net.eval()


def _folded(module: nn.Module) -> nn.Module:
    """A module folded, on its own device; any other one as it is."""
    fold = _folds.get(type(module))
    if fold is None:
        return module
    floats = (each for each in named_tensors(module).values() if each.is_floating_point())
    like, folded = next(floats, None), fold(module)
    if folded is module or like is None:
        return folded
    return channels_last(folded.to(like.device, like.dtype))


def _fold_module(module: MAAM) -> nn.Module:
    built = MAAM(**vars(module.spec))
    if _makeup(module) != _makeup(built):
        return module
    return _set(FoldedMAAM(module.spec), fold_maam(_arrays(module), module.spec))


def _fold_conv_norm(layer: ConvNorm) -> nn.Module:
    conv = layer.conv
    plain = type(conv) in (nn.Conv2d, DepthwiseConv2d) and conv.bias is None
    if not (plain and conv.padding_mode == "zeros" and _are_plain(layer.norm, layer.activation)):
        return layer
    return _set(_without_norm(layer), float32(fold_norms(_arrays(layer))))


def _fold_agents(layer: AgentLayer) -> nn.Module:
    agents = layer.agents
    plain = type(agents) is LinearAgents and type(agents.fusion) is AgentFusion
    if not (plain and _are_plain(layer.norm, layer.activation)):
        return layer
    wide, side = agents.channels, agents.side
    conv = nn.Conv2d(wide, wide, side, agents.stride, side // 2, groups=wide)
    folded = nn.Sequential(OrderedDict(conv=conv, relu=layer.activation))
    arrays = fold_agents(_arrays(layer), agents.agents)
    return _set(folded, {f"conv.{name}": array for name, array in arrays.items()})


register_fold(MAAM, _fold_module)
register_fold(ConvNorm, _fold_conv_norm)
register_fold(Reduce, _fold_conv_norm)
register_fold(AgentLayer, _fold_agents)


def _are_plain(norm: nn.Module, activation: nn.Module) -> bool:
    """Whether a layer ends in BatchNorm and an activation without tensors."""
    return _is_norm(norm) and not named_tensors(activation)


def _is_norm(norm: nn.Module) -> bool:
    """Whether a module is BatchNorm with all that folding needs."""
    return type(norm) in NORMS and norm.affine and norm.track_running_stats  # pyright: ignore


def _makeup(net: nn.Module) -> tuple[Any, ...]:
    """What a network is made of: equal for two that differ in the values of their tensors alone."""
    shapes = [(name, tensor.shape) for name, tensor in named_tensors(net).items()]
    return [_settings(module) for module in net.modules()], shapes


def _settings(module: nn.Module) -> tuple[Any, ...]:
    """A module's class, and what it computes with beside its tensors; ``eps`` folds as it is."""
    if type(module) in NORMS:
        return "norm", _is_norm(module)
    names = "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode", "ceil_mode"
    return type(module), *(getattr(module, name, None) for name in (*names, "resolution"))


def _arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """A module's arrays for ``maam.models.folding``, which adds its own epsilon to variances."""
    arrays = read_tensors(named_tensors(module))
    for path, norm in module.named_modules():
        if type(norm) in NORMS:
            name = f"{path}.moving_variance"
            arrays[name] = arrays[name] + np.float64(norm.eps - EPSILON)  # pyright: ignore
    return arrays


def _set(folded: nn.Module, arrays: dict[str, np.ndarray]) -> nn.Module:
    assign_tensors(named_tensors(folded), arrays, "the folded module")
    return folded


def _without_norm(layer: Any) -> nn.Module:
    """A ``ConvNorm`` as convolution with bias and activation, weights still to be filled in."""
    return nn.Sequential(OrderedDict(conv=_with_bias(layer.conv), activation=layer.activation))


def _with_bias(conv: Any) -> nn.Conv2d:
    shape = conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding
    return nn.Conv2d(*shape, conv.dilation, conv.groups)
