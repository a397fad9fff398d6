"""A network in integers as a file: int8.safetensors, its arrays and the table of its layers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.core.schema import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from maam.core.tensors import check_tensors, load_tensors, save_tensors
from maam.deploy.int8 import Grid, Int8Convolution, Int8Layer, Int8Network
from maam.deploy.layers import Shape, shape_after

FORMAT = 1

# Of each convolution: array -> its type in the file
_TYPES: dict[str, type] = {
    "weight": np.int8,
    "weight_scale": np.float32,
    "bias": np.int32,
    "multiplier": np.int32,
    "shift": np.int8,
    "residual": np.int32,
}
_COUNTS = {"conv": 1, "block": 2}  # convolutions of a layer


def save_int8(path: Path, network: Int8Network, weights: Path | None = None) -> None:
    """Write a network in integers.

    Args:
        path: the file, int8.safetensors of a run folder.
        network: to be written.
        weights: the file of the weights that it was made from; its hash is noted.

    Raises:
        MaamError: the file can't be written.
    """
    structure = {
        "image": network.image,
        "grid": _grid_to_dict(network.grids[0]),
        "layers": [_layer_to_dict(layer) for layer in network.layers],
    }
    digest = "" if weights is None else _digest(weights)
    save_tensors(
        path, int8_arrays(network), {"format": FORMAT, "weights": digest, "int8": structure}
    )


def int8_arrays(network: Int8Network) -> dict[str, np.ndarray]:
    """All arrays of a network in integers, by their names in the file."""
    arrays = {"table": network.table}
    for number, layer in enumerate(network.layers):
        for index, conv in enumerate(layer.convolutions):
            for name, kind in _TYPES.items():
                if (array := getattr(conv, name)) is not None:
                    arrays[f"{number}.{index}.{name}"] = array.astype(kind)
    return arrays


def load_int8(path: Path) -> Int8Network:
    """Read what ``save_int8`` wrote.

    Raises:
        MaamError: the file is missing, damaged, of another format, or holds no network in integers.
    """
    return _load(path)[0]


def read_int8(run: RunFolder) -> Int8Network:
    """The network in integers of a run folder.

    Raises:
        MaamError: as ``load_int8``, or it was made from other weights than those in the folder.
    """
    network, digest = _load(run.int8)
    if digest and run.best.is_file() and digest != _digest(run.best):
        raise MaamError(
            f"{run.int8} was made from other weights than {run.best.name} holds: make it anew "
            f"with `maam quantize {run}`"
        )
    return network


def _load(path: Path) -> tuple[Int8Network, str]:
    """The network, and the hash of the weights that it was made from."""
    if not path.is_file():
        raise MaamError(f"{path} is missing: make it with `maam quantize {path.parent}`")
    tensors, metadata = load_tensors(path)
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise MaamError(f"{path} holds no network in integers that this version knows: {_AGAIN}")
    try:
        file = _File.model_validate(metadata)
        structure = file.int8
        image = _shape(structure.image)
        check_tensors(_shapes(structure, tensors), tensors, str(path))
        _check_arrays(tensors)
        layers: list[Int8Layer] = []
        grids = [_grid(structure.grid)]
        for number, row in enumerate(structure.layers):
            maps = [image, *(layer.shape for layer in layers)]
            try:
                layers.append(_layer(number, row, tensors, grids, maps))
            except ValueError as error:
                raise ValueError(f"{row.name} {error}") from None
            grids.append(layers[-1].grid)
        if layers[-1].shape[:2] != (1, 1) or not layers[-1].convolutions:
            raise ValueError("its last layer makes no logits")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MaamError(f"{path}: {where}: {first['msg']}: {_AGAIN}") from None
    except ValueError as error:
        raise MaamError(f"{path}: {error}: {_AGAIN}") from None
    network = Int8Network(image, tensors["table"], tuple(grids), tuple(layers), grids[-1].scale)
    return network, file.weights


_AGAIN = "make it anew with `maam quantize RUN`"


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _GridRow(_Row):
    scale: Annotated[FiniteFloat, Field(gt=0)]
    zero: Annotated[int, Field(ge=-128, le=127)]


class _ConvolutionRow(_Row):
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=4, max_length=4)]
    stride: Annotated[int, Field(ge=1)]
    padding: Annotated[int, Field(ge=0)]
    groups: Annotated[int, Field(ge=1)]
    grid: _GridRow


class _LayerRow(_Row):
    name: str
    kind: Literal["conv", "block", "pool", "sum", "mean"]
    inputs: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=3, max_length=3)]
    residual: bool
    multiplier: Annotated[int, Field(ge=0, lt=2**31)]
    shift: Annotated[int, Field(ge=0, le=62)]
    grid: _GridRow
    convolutions: list[_ConvolutionRow]


class _Structure(_Row):
    image: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=3, max_length=3)]
    grid: _GridRow
    layers: Annotated[list[_LayerRow], Field(min_length=1)]


class _File(_Row):
    format: int
    weights: str
    int8: _Structure


def _grid_to_dict(grid: Grid) -> dict[str, Any]:
    return {"scale": grid.scale, "zero": grid.zero}


def _layer_to_dict(layer: Int8Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "inputs": layer.inputs,
        "shape": layer.shape,
        "residual": layer.residual,
        "multiplier": layer.multiplier,
        "shift": layer.shift,
        "grid": _grid_to_dict(layer.grid),
        "convolutions": [
            {
                "shape": conv.weight.shape,
                "stride": conv.stride,
                "padding": conv.padding,
                "groups": conv.groups,
                "grid": _grid_to_dict(conv.output),
            }
            for conv in layer.convolutions
        ],
    }


def _shapes(structure: _Structure, tensors: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """The shape of every array, by name."""
    shapes: dict[str, tuple[int, ...]] = {"table": (structure.image[2], 256)}
    for number, row in enumerate(structure.layers):
        for index, conv in enumerate(row.convolutions):
            added = row.residual and index == len(row.convolutions) - 1
            for name in _TYPES:
                if name != "residual" or added:
                    shape = tuple(conv.shape) if name == "weight" else (conv.shape[0],)
                    shapes[f"{number}.{index}.{name}"] = shape
    return shapes


def _check_arrays(tensors: dict[str, np.ndarray]) -> None:
    """Check types, and what ``requantize`` takes.

    Raises:
        ValueError: an array is of another type, or out of range.
    """
    for name, array in tensors.items():
        kind = np.dtype(_TYPES.get(name.rpartition(".")[2], np.int8))
        if array.dtype != kind:
            raise ValueError(f"{name} is {array.dtype}, not {kind}")
    for name, low, high in (("multiplier", 2**30, 2**31 - 1), ("shift", 1, 62)):
        for key in tensors:
            array = tensors[key]
            if key.endswith(f".{name}") and not (low <= array.min() and array.max() <= high):
                raise ValueError(f"{key} is not from {low} to {high}")


def _layer(
    number: int,
    row: _LayerRow,
    tensors: dict[str, np.ndarray],
    grids: Sequence[Grid],
    maps: Sequence[Shape],
) -> Int8Layer:
    """A layer, from its row and the grids and shapes of the maps before it."""
    if max(row.inputs) > number:
        raise ValueError("reads a map that is made later")
    read = [maps[each] for each in row.inputs]
    if len(row.convolutions) != _COUNTS.get(row.kind, 0) or (len(read) > 1 and row.kind != "sum"):
        raise ValueError(f"is no {row.kind}")
    if row.kind in ("sum", "mean") and not (row.multiplier >= 2**30 and row.shift):
        raise ValueError("has no multiplier")
    source = grids[row.inputs[0]]
    convs = tuple(_convolutions(number, row, tensors, source))
    shape = _shape(row.shape)
    if (row.kind == "block" and not _is_block(convs)) or (row.residual and row.kind != "block"):
        raise ValueError(f"is no {row.kind}")
    made = shape_after(row.kind, read[0], convs, shape[2])
    fits = all(each[:2] == made[:2] and each[2] % shape[2] == 0 for each in read)
    if made != shape or (row.kind == "sum" and not fits) or (row.residual and read[0] != made):
        raise ValueError(f"makes {made}, not {shape}")
    grid = convs[-1].output if convs else source if row.kind == "pool" else _grid(row.grid)
    return Int8Layer(
        row.name,
        row.kind,
        tuple(row.inputs),
        shape,
        grid,
        convs,
        row.residual,
        row.multiplier,
        row.shift,
    )


def _convolutions(
    number: int, row: _LayerRow, tensors: dict[str, np.ndarray], source: Grid
) -> Iterator[Int8Convolution]:
    for index, conv in enumerate(row.convolutions):
        arrays = {name: tensors.get(f"{number}.{index}.{name}") for name in _TYPES}
        arrays["shift"] = tensors[f"{number}.{index}.shift"].astype(np.int32)
        target = _grid(conv.grid)
        window = {"stride": conv.stride, "padding": conv.padding, "groups": conv.groups}
        yield Int8Convolution(**arrays, **window, input=source, output=target)  # pyright: ignore
        source = target


def _is_block(convs: Sequence[Int8Convolution]) -> bool:
    depthwise, pointwise = convs
    plain = pointwise.stride, pointwise.padding, pointwise.groups, pointwise.weight.shape[1:3]
    return len(depthwise.weight) == depthwise.groups and plain == (1, 0, 1, (1, 1))


def _grid(row: _GridRow) -> Grid:
    return Grid(row.scale, row.zero)


def _shape(sides: Sequence[int]) -> Shape:
    height, width, channels = sides
    return height, width, channels


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
