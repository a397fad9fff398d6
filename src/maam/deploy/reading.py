"""From a run's weights to the list of its layers, norms and agents folded; no framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.core.tensors import load_tensors
from maam.deploy.layers import Convolution, Kind, Layer, LayeredNetwork, Shape, shape_after
from maam.models.agents import SUMS, ModuleSpec, agent_layers, convolutions
from maam.models.folding import fold_agents, fold_maam, fold_norms
from maam.models.kernels import kernel_layout
from maam.models.stem import patch_side
from maam.models.variants import CHANNELS
from maam.models.widths import model_row


def read_layers(run: RunFolder) -> LayeredNetwork:
    """The layers of a run's best weights, folded.

    Raises:
        MaamError: the run is not trained, its files are damaged, or its model has layers that are
            not known here.
    """
    meta = run.read_meta()
    tensors, _ = load_tensors(run.best)
    return layered(meta, tensors)


def layered(meta: RunMeta, tensors: Mapping[str, np.ndarray]) -> LayeredNetwork:
    """The layers of a network's weights, folded or not.

    Args:
        meta: model, classes and size.
        tensors: all tensors of the network by name, as best.safetensors holds them.

    Raises:
        MaamError: the model has layers that are not known here.
    """
    _, architecture, arguments = model_row(meta.model) or ("", "", {})
    channels, height, width = meta.image_shape
    image = height, width, channels
    arrays = {name: array.astype(np.float32) for name, array in tensors.items()}
    known = {"maamnet.MAAMNet": _maamnet, "maam.MAAMClassifier": _maam}
    build = known.get(architecture)
    options = arguments.get("options", {})
    summed = options.get("fusion", "learned") in SUMS and not options.get("resolutions")
    if build is None or not summed:
        raise MaamError(
            f"the layers of {meta.model} are not known one by one, as int8, C and the page need "
            "them: those of MAAMNet are, and of `maam` where agents of one resolution are summed"
        )
    try:
        net = build(image, arrays, arguments)
        if net.layers[-1].shape != (1, 1, len(meta.classes)):
            raise ValueError(f"they are not of {len(meta.classes)} classes")
    except KeyError as error:
        raise MaamError(f"the weights are not those of {meta.model}: {error} is missing") from None
    except ValueError as error:
        raise MaamError(f"the weights are not those of {meta.model}: {error}") from None
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise MaamError(f"the weights of {meta.model} are not finite: train again")
    return net


@dataclass
class _Builder:
    """Layers, as they are added one after another."""

    image: Shape
    layers: list[Layer] = field(default_factory=list)

    def add(self, name: str, kind: Kind, *inputs: int, **more: Any) -> int:
        """Add a layer; its number. Without inputs it reads the last one."""
        inputs = inputs or (len(self.layers),)
        net = LayeredNetwork(self.image, tuple(self.layers))
        convs: Sequence[Convolution] = more.get("convolutions", ())
        channels = more.pop("channels", 0)
        shape = shape_after(kind, net.shape_of(inputs[0]), convs, channels)
        self.layers.append(Layer(name, kind, tuple(inputs), shape, **more))
        return len(self.layers)

    def conv(self, name: str, weight: np.ndarray, *inputs: int, **more: Any) -> int:
        """Add a convolution, its weight (O, I / groups, rows, columns)."""
        bias = more.pop("bias", np.zeros(len(weight), np.float32))
        conv = Convolution(_last(weight), bias, **more)
        return self.add(name, "conv", *inputs, convolutions=(conv,))

    def dense(self, name: str, arrays: Mapping[str, np.ndarray], relu: bool = False) -> int:
        """Add a dense layer over the whole map, flattened as (C, H, W)."""
        weight = arrays[f"{name}.weight"]
        net = LayeredNetwork(self.image, tuple(self.layers))
        height, width, channels = net.shape_of(len(self.layers))
        weight = weight.reshape(len(weight), channels, height, width)
        return self.conv(name, weight, bias=arrays[f"{name}.bias"], relu=relu)

    def build(self) -> LayeredNetwork:
        return LayeredNetwork(self.image, tuple(self.layers))


def _maamnet(
    image: Shape, arrays: Mapping[str, np.ndarray], arguments: Mapping[str, Any]
) -> LayeredNetwork:
    net = _Builder(image)
    side = patch_side(image[:2])
    if side > 1:
        net.conv("patch", arrays["patch.weight"], stride=side)
    stem = _folded(_under(arrays, "stem."), "conv")
    net.conv("stem", stem[0], bias=stem[1], padding=1, relu=True)
    agents, stages = arguments["agents"], arguments["stages"]
    reach = kernel_layout(agents).side // 2
    channels, number = stages[0][0], 0
    for stage, (wide, count) in enumerate(stages):
        for index in range(count):
            name = f"blocks.{number}"
            own = _under(arrays, f"{name}.layer.")
            if "conv.weight" not in own:
                own = {f"conv.{key}": value for key, value in fold_agents(own, agents).items()}
            stride = 2 if stage and not index else 1
            depthwise = Convolution(
                _last(own["conv.weight"]), own["conv.bias"], stride, reach, channels, relu=True
            )
            weight, bias = _folded(_under(arrays, f"{name}.reduce."), "conv")
            pair = depthwise, Convolution(_last(weight), bias)
            net.add(name, "block", convolutions=pair, residual=wide == channels and stride == 1)
            channels, number = wide, number + 1
    net.add("pool", "mean")
    net.dense("classifier", arrays)
    return net.build()


def _maam(
    image: Shape, arrays: Mapping[str, np.ndarray], arguments: Mapping[str, Any]
) -> LayeredNetwork:
    options = {"kernel_sizes": (3, 3, 3), "layers": "p2", **arguments["options"]}
    options["layers"] = agent_layers(options["layers"], CHANNELS)
    spec = ModuleSpec(image[2], CHANNELS, **options)
    own = _under(arrays, "maam.")
    if any(name.endswith(".gamma") for name in own):
        own = fold_maam(own, spec)
    net = _Builder(image)
    ends = []
    for block, group in enumerate(spec.groups):
        last = 0
        plan = convolutions(spec.in_channels, CHANNELS, spec.layers, group.count, spec.pool)
        for number, conv in enumerate(plan, 1):
            name = f"maam.agents.{block}.conv{number}"
            weight, bias = _folded(_under(own, f"agents.{block}.layers."), f"conv{number}")
            reach = group.kernel_size // 2
            same = {"bias": bias, "padding": reach, "groups": conv.groups, "relu": True}
            last = net.conv(name, weight, last, **same)
            if conv.pool:
                last = net.add(f"{name}.pool", "pool", last)
        ends.append(last)
    if spec.agents > 1:
        net.add("maam.fusion", "sum", *ends, channels=CHANNELS)
    if spec.reduce:
        weight, bias = _folded(_under(own, "reduce."), "conv")
        net.conv("maam.reduce", weight, bias=bias, relu=True)
    net.dense("hidden", arrays, relu=True)
    net.dense("classifier", arrays)
    return net.build()


def _under(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin so, without it."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _folded(arrays: Mapping[str, np.ndarray], conv: str) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a convolution, its norm folded into it."""
    if f"{conv}.bias" not in arrays:
        arrays = fold_norms(arrays)
    return arrays[f"{conv}.weight"].astype(np.float32), arrays[f"{conv}.bias"].astype(np.float32)


def _last(weight: np.ndarray) -> np.ndarray:
    """(O, I, rows, columns) -> (O, rows, columns, I)."""
    return np.ascontiguousarray(weight.transpose(0, 2, 3, 1))
