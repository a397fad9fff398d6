"""The algebra of folding, on named NumPy arrays: no framework, the same numbers for both.

- BatchNorm after a convolution is an affine map of each channel, which the convolution's weight
  and a bias take in.
- A fusion weight softmax(alpha)_i is positive, so it commutes with ReLU and max pooling and moves
  into agent i's last convolution. A plain sum of the agents' maps is left of equation 2.
- Agents without a nonlinearity before their sum are one convolution: kernels of any odd size and
  dilation, laid centred into the largest and added up.

Two more are possible and are not done, since they make the network slower. Kernels of 1, 3 and 5
padded to one wide 5x5 convolution double the multiply-accumulates and the time. Tiling the 1x1
compression over all agents, in place of the sum, multiplies its work by the number of agents: for
``maam`` at 32x32, 8.4 M multiply-accumulates more, to save 66 thousand additions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from maam.models.agents import SUMS, ModuleSpec
from maam.models.kernels import Agent, kernel_layout

EPSILON = 1e-5  # of BatchNorm, in both frameworks

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Norm:
    """BatchNorm in inference mode, each array of shape (C,)."""

    gamma: np.ndarray
    beta: np.ndarray
    moving_mean: np.ndarray
    moving_variance: np.ndarray


def fold_norm(weight: np.ndarray, norm: Norm) -> tuple[np.ndarray, np.ndarray]:
    """Convolution without bias, then BatchNorm, as one convolution.

    Args:
        weight: (O, I / groups, rows, columns).
        norm: of O channels.

    Returns:
        Its weight, and its bias (O,), in float64.
    """
    gamma, beta, mean, variance = (
        np.asarray(getattr(norm, field.name), np.float64) for field in fields(norm)
    )
    slope = gamma / np.sqrt(variance + EPSILON)
    return weight * slope[:, None, None, None], beta - mean * slope


def fold_norms(arrays: Arrays) -> dict[str, np.ndarray]:
    """Fold every BatchNorm of a network into the convolution before it.

    Args:
        arrays: weights and statistics; ``a.norm1.gamma`` and its like belong to ``a.conv1``, which
            has no bias.

    Returns:
        The same without norms; each such convolution has a ``weight`` and a ``bias`` in float64.
    """
    norms = {name.removesuffix(".gamma") for name in arrays if name.endswith(".gamma")}
    folded = {name: array for name, array in arrays.items() if name.rpartition(".")[0] not in norms}
    for layer in norms:
        parent, dot, name = layer.rpartition(".")
        conv = parent + dot + name.replace("norm", "conv")
        norm = _norm(arrays, layer)
        folded[f"{conv}.weight"], folded[f"{conv}.bias"] = fold_norm(arrays[f"{conv}.weight"], norm)
    return folded


def fold_maam(arrays: Arrays, spec: ModuleSpec) -> dict[str, np.ndarray]:
    """The arrays of ``MAAM``, by its own names, as those of ``FoldedMAAM``.

    Args:
        arrays: weights and statistics, such as ``agents.0.layers.norm1.gamma``.
        spec: what the ``MAAM`` was built with.

    Returns:
        Weights and biases in float32, such as ``agents.0.layers.conv1.bias``.
    """
    folded = fold_norms(arrays)
    weights = _softmax(folded.pop("fusion.alpha", np.zeros(spec.agents)))
    if spec.fusion in SUMS:
        for block, group in enumerate(spec.groups):
            own, weights = weights[: group.count], weights[group.count :]
            _scale_last(folded, f"agents.{block}.layers.conv", own)
    return float32(folded)


def fold_agents(arrays: Arrays, agents: Sequence[Agent]) -> dict[str, np.ndarray]:
    """The arrays of ``AgentLayer`` as those of one convolution.

    Args:
        arrays: ``agents.taps``, ``agents.fusion.alpha``, and those of ``norm``.
        agents: (rows, columns, dilation) of each.

    Returns:
        Its weight and bias, in float32.
    """
    norm = _norm(arrays, "norm")
    weight, bias = fold_norm(_kernel(arrays, agents), norm)
    return float32({"weight": weight, "bias": bias})


def _norm(arrays: Arrays, layer: str) -> Norm:
    return Norm(*(arrays[f"{layer}.{field.name}"] for field in fields(Norm)))


def _kernel(arrays: Arrays, agents: Sequence[Agent]) -> np.ndarray:
    """The one kernel of linear agents (channels, 1, side, side) in float64."""
    layout = kernel_layout(agents)
    weights = layout.agents @ _softmax(arrays["agents.fusion.alpha"])
    kernel = arrays["agents.taps"].astype(np.float64) @ (layout.positions * weights[:, None])
    return kernel.reshape(-1, 1, layout.side, layout.side)


def _softmax(alpha: np.ndarray) -> np.ndarray:
    exponentials = np.exp(alpha.astype(np.float64) - alpha.max())
    return exponentials / exponentials.sum()


def float32(arrays: Arrays) -> dict[str, np.ndarray]:
    """The arrays rounded to what networks compute with."""
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _scale_last(folded: dict[str, np.ndarray], convs: str, weights: np.ndarray) -> None:
    """Multiply what each agent's last convolution puts out by the agent's weight."""
    biases = [name for name in folded if name.startswith(convs) and name.endswith(".bias")]
    numbers = [int(name.removeprefix(convs).removesuffix(".bias")) for name in biases]
    last = f"{convs}{max(numbers)}"
    each = np.repeat(weights, len(folded[f"{last}.bias"]) // len(weights))
    folded[f"{last}.weight"] = folded[f"{last}.weight"] * each[:, None, None, None]
    folded[f"{last}.bias"] = folded[f"{last}.bias"] * each
