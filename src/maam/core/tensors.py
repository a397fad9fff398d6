"""Named arrays in safetensors files, with a checksum; and whether they are those of a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maam.core.errors import MaamError
from maam.core.files import check_regular, write_atomic


def save_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]
) -> None:
    """Write named arrays and JSON metadata as safetensors, with a checksum over both."""
    from safetensors.numpy import save

    text = json.dumps(metadata)
    # safetensors writes memory as it lies: in another order than C it would come back scrambled.
    tensors = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    write_atomic(path, save(tensors, {"sha256": _digest(tensors, text), "maam": text}))


def load_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what ``save_tensors`` wrote: the arrays and the metadata.

    Raises:
        MaamError: the file is missing, truncated, altered, no regular file, or not written by maam.
    """
    from safetensors import SafetensorError, safe_open

    check_regular(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if "maam" not in metadata:
                raise MaamError(f"{path} was not written by maam, or is damaged")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise MaamError(
            f"{path} does not exist: end a training with `maam train --resume`, or name another run"
        ) from None
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise MaamError(
            f"{path} is damaged or not a safetensors file: {error}; restore it from a copy"
        ) from None
    text = metadata["maam"]
    if metadata.get("sha256") != _digest(tensors, text):
        raise MaamError(f"{path} is damaged: its checksum does not fit; restore it from a copy")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise MaamError(f"{path} was not written by maam: its metadata is no record; restore it")
    return tensors, values


def check_tensors(
    shapes: Mapping[str, tuple[int, ...]], tensors: Mapping[str, np.ndarray], source: str
) -> None:
    """Check that arrays are exactly those that a model has.

    Args:
        shapes: of all tensors of the model, by name.
        tensors: the arrays that are to become them.
        source: where they come from, for the error.

    Raises:
        MaamError: a name is missing or left over, a shape differs, or a value is not finite.
    """
    missing, extra = shapes.keys() - tensors.keys(), tensors.keys() - shapes.keys()
    if missing or extra:
        what = f"lacks {min(missing)}" if missing else f"has an unknown {min(extra)}"
        raise MaamError(f"{source} holds the weights of another model: it {what}")
    for name, shape in shapes.items():
        if tensors[name].shape != tuple(shape):
            raise MaamError(
                f"{source} holds the weights of another model: {name} has the shape "
                f"{tensors[name].shape}, not {tuple(shape)}"
            )
        if not np.isfinite(tensors[name]).all():
            raise MaamError(f"{source}: {name} has values that are not finite")


def _digest(tensors: Mapping[str, np.ndarray], text: str) -> str:
    sha = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        sha.update(f"{name} {array.dtype} {array.shape}\n".encode())
        sha.update(array.data if array.size else b"")
    return sha.hexdigest()
