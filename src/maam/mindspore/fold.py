"""Fold a trained network in MindSpore: the same logits from fewer operations.

``maam.models.folding`` has the algebra, and says what was left out because it would be slower.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from mindspore import Tensor, nn, ops

from maam.mindspore.layers import ConvNorm
from maam.mindspore.maam import MAAM, AgentFusion, Reduce
from maam.mindspore.models.maamnet import AgentLayer, LinearAgents
from maam.mindspore.ops.convolution import Conv2d
from maam.mindspore.weights import assign_tensors
from maam.models.agents import SUMS, ModuleSpec
from maam.models.folding import EPSILON, float32, fold_agents, fold_maam, fold_norms

NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)  # the same in inference

_folds: dict[type[nn.Cell], Callable[[Any], nn.Cell]] = {}


def register_fold(kind: type[nn.Cell], fold: Callable[[Any], nn.Cell]) -> None:
    """Say how cells of a class are folded, wherever ``fuse`` meets them.

    Args:
        kind: the class itself; its subclasses are not meant.
        fold: gives a new cell that computes the same in inference, its parameters set; or the
            cell itself where it can't.
    """
    _folds[kind] = fold


class FoldedMAAM(MAAM):
    """What ``fuse`` makes of ``MAAM``: no norms, and a plain sum in place of a weighted one.

    Shapes are those of ``MAAM``.
    """

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(**vars(spec))
        for block in self.agents:
            layers = OrderedDict(block.layers.name_cells())
            for name, layer in layers.items():
                if isinstance(layer, nn.BatchNorm2d):
                    layers[name] = nn.Identity()
                elif isinstance(layer, nn.Conv2d):
                    layers[name] = _with_bias(layer)
            block.layers = nn.SequentialCell(layers)
            block.fused = nn.CellList([_NoNorm() for _ in block.fused])
        if spec.reduce:
            self.reduce = _without_norm(self.reduce)
        self.channels = spec.out_channels
        self.sums = spec.fusion in SUMS
        if self.sums:
            self.fusion = nn.Identity()

    def construct(self, x: Tensor) -> Tensor:
        if not self.sums:
            return super().construct(x)
        maps = ()
        for agent in self.agents:
            maps = (*maps, agent(x))
        return self.reduce(agent_sum(maps, self.channels))


class _NoNorm(nn.Cell):
    """In place of ``FusedNorm``, where there is no norm left."""

    def construct(
        self, x: Tensor, norm: nn.Cell, pool: nn.Cell, relu: nn.Cell, weights: None
    ) -> Tensor:
        return relu(pool(x))


def agent_sum(blocks: tuple[Tensor, ...], channels: int) -> Tensor:
    """The sum of all agents: maps (N, agents * channels, H, W) of blocks -> (N, channels, H, W)."""
    total = None
    for block in blocks:
        for agent in ops.split(block, channels, 1) if block.shape[1] > channels else (block,):
            total = agent if total is None else total + agent
    return total


def foldable(net: nn.Cell) -> list[str]:
    """What ``fuse`` folds of a network, without what lies inside it: ``body.0 (MAAM)``."""
    paths: list[str] = []
    found = []
    for path, cell in copy.deepcopy(net).cells_and_names():
        inside = any(not other or path.startswith(f"{other}.") for other in paths)
        if not inside and _folded(cell, "") is not cell:
            paths.append(path)
            found.append(f"{path or 'all'} ({type(cell).__name__})")
    return found


def fuse(net: nn.Cell) -> nn.Cell:
    """A copy of a network for inference, its modules folded; exact but for rounding.

    ``MAAM``, ``AgentLayer``, every ``ConvNorm``, and what ``register_fold`` was told of, fold. One
    that was altered so that folding would change its values stays as it is.

    Args:
        net: any network, such as ``create_model`` or ``load_model`` gives it; it stays as it is.
            What has been folded already, or holds none of these, is only copied.

    Returns:
        The copy, for which ``set_train(False)`` holds.

    Example:
        >>> net, meta = maam.load_model("runs/digits-maam")
        >>> small = maam.fuse(net)
    """
    net = _folded(copy.deepcopy(net), "")
    for path, parent in list(net.cells_and_names()):
        for name, child in list(parent._cells.items()):
            if child is None:
                continue
            folded = _folded(child, f"{path}.{name}." if path else f"{name}.")
            if folded is not child:
                _replace(parent, name, folded)
    return net.set_train(False)


def _folded(module: nn.Cell, prefix: str) -> nn.Cell:
    """A module folded, its parameters' names starting with ``prefix``; any other one as it is."""
    fold = _folds.get(type(module))
    if fold is None:
        return module
    folded = fold(module)
    if folded is not module:
        for name, parameter in folded.parameters_and_names():
            parameter.name = prefix + name
    return folded


def _fold_module(module: MAAM) -> nn.Cell:
    built = MAAM(**vars(module.spec))
    if _makeup(module) != _makeup(built):
        return module
    return _set(FoldedMAAM(module.spec), fold_maam(_arrays(module), module.spec))


def _fold_conv_norm(layer: ConvNorm) -> nn.Cell:
    conv = layer.conv
    plain = type(conv) in (nn.Conv2d, Conv2d) and not conv.has_bias and conv.pad_mode == "pad"
    if not (plain and _are_plain(layer.norm, layer.activation, layer.pool)):
        return layer
    return _set(_without_norm(layer), float32(fold_norms(_arrays(layer))))


def _fold_agents(layer: AgentLayer) -> nn.Cell:
    agents = layer.agents
    plain = type(agents) is LinearAgents and type(agents.fusion) is AgentFusion
    if not (plain and _are_plain(layer.norm, layer.activation, layer.pool)):
        return layer
    wide, side = agents.channels, agents.side
    shape = wide, wide, side, agents.stride, "pad", side // 2
    conv = nn.Conv2d(*shape, group=wide, has_bias=True)
    folded = nn.SequentialCell(OrderedDict(conv=conv, relu=layer.activation))
    arrays = fold_agents(_arrays(layer), agents.agents)
    return _set(folded, {f"conv.{name}": array for name, array in arrays.items()})


register_fold(MAAM, _fold_module)
register_fold(ConvNorm, _fold_conv_norm)
register_fold(Reduce, _fold_conv_norm)
register_fold(AgentLayer, _fold_agents)


def _are_plain(norm: nn.Cell, activation: nn.Cell, pool: nn.Cell) -> bool:
    """Whether a layer ends in BatchNorm, no pooling, and an activation without tensors."""
    bare = next(iter(activation.get_parameters()), None) is None
    return _is_norm(norm) and bare and type(pool) is nn.Identity


def _is_norm(norm: nn.Cell) -> bool:
    """Whether a cell is BatchNorm that uses its running statistics in inference."""
    return type(norm) in NORMS and not norm.use_batch_statistics


def _makeup(net: nn.Cell) -> tuple[Any, ...]:
    """What a network is made of: equal for two that differ in the values of their tensors alone."""
    shapes = [(name, parameter.shape) for name, parameter in net.parameters_and_names()]
    return [_settings(cell) for _, cell in net.cells_and_names()], shapes


def _settings(cell: nn.Cell) -> tuple[Any, ...]:
    """A cell's class, and what it computes with beside its tensors; ``eps`` folds as it is."""
    if type(cell) in NORMS:
        return "norm", _is_norm(cell)
    names = "kernel_size", "stride", "pad_mode", "padding", "dilation", "group", "has_bias"
    return type(cell), *(getattr(cell, name, None) for name in (*names, "resolution"))


def _arrays(module: nn.Cell) -> dict[str, np.ndarray]:
    """A cell's arrays for ``maam.models.folding``, which adds its own epsilon to variances."""
    arrays = {name: parameter.asnumpy() for name, parameter in module.parameters_and_names()}
    for path, norm in module.cells_and_names():
        if type(norm) in NORMS:
            name, epsilon = f"{path}.moving_variance", norm.bn_infer.epsilon  # not ``norm.eps``
            arrays[name] = arrays[name] + np.float64(epsilon - EPSILON)
    return arrays


def _set(folded: nn.Cell, arrays: dict[str, np.ndarray]) -> nn.Cell:
    for name, parameter in folded.parameters_and_names():
        parameter.name = name
    assign_tensors(folded.get_parameters(), arrays, "the folded module")
    return folded


def _without_norm(layer: Any) -> nn.Cell:
    """A ``ConvNorm`` as convolution with bias and activation, weights still to be filled in."""
    return nn.SequentialCell(OrderedDict(conv=_with_bias(layer.conv), activation=layer.activation))


def _with_bias(conv: Any) -> nn.Conv2d:
    shape = conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, "pad", conv.padding
    return nn.Conv2d(*shape, conv.dilation, conv.group, has_bias=True)


def _replace(parent: nn.Cell, name: str, child: nn.Cell) -> None:
    names = [parameter.name for parameter in child.get_parameters()]
    if isinstance(parent, (nn.SequentialCell, nn.CellList)):
        parent[list(parent._cells).index(name)] = child
    else:
        setattr(parent, name, child)
    for parameter, whole in zip(child.get_parameters(), names, strict=True):
        parameter.name = whole  # MindSpore has put the child's name before it once more
