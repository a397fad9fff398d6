"""A run folder: weights, training state and facts; written atomically, read strictly.

config.toml        all options of the run, resolved
meta.json          model, classes, preprocessing, metrics
best.safetensors   weights of the best epoch
last.safetensors   weights, optimiser and progress after the last finished epoch
metrics.jsonl      a line per epoch; metrics.csv is the same
model.onnx         the best weights for `maam predict`
environment.json, plots/, README.md
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from maam.config import CONFIG
from maam.errors import MaamError
from maam.files import write_atomic
from maam.schema import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveInt,
    ValidationError,
)
from maam.shipped import find_run

if TYPE_CHECKING:
    from mindspore import Parameter, nn

META, BEST, LAST = "meta.json", "best.safetensors", "last.safetensors"
ENVIRONMENT, MODEL, CARD = "environment.json", "model.onnx", "README.md"
FORMAT = 1


def save_tensors(path: Path, tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Write named arrays and JSON facts as safetensors, with a checksum over both."""
    from safetensors.numpy import save

    text = json.dumps(facts)
    # safetensors writes memory as it lies: in another order than C it would come back scrambled.
    tensors = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    write_atomic(path, save(tensors, {"sha256": _digest(tensors, text), "maam": text}))


def load_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what ``save_tensors`` wrote.

    Raises:
        MaamError: the file is missing, truncated, altered, or not written by maam.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise MaamError(f"{path} does not exist: train first, or name another run") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise MaamError(f"{path} is damaged or not a safetensors file: {error}") from None
    text = metadata.get("maam")
    if text is None:
        raise MaamError(f"{path} was not written by maam, or is damaged")
    if metadata.get("sha256") != _digest(tensors, text):
        raise MaamError(f"{path} is damaged: its checksum does not fit; restore it from a copy")
    return tensors, json.loads(text)


def _digest(tensors: Mapping[str, np.ndarray], text: str) -> str:
    sha = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        sha.update(f"{name} {array.dtype} {array.shape}\n".encode())
        sha.update(array.data if array.size else b"")
    return sha.hexdigest()


def read_tensors(parameters: Iterable[Parameter], prefix: str = "") -> dict[str, np.ndarray]:
    """Copies of parameters by name; a plain ``asnumpy`` would alias the live weights."""
    return {prefix + p.name: np.array(p.asnumpy()) for p in parameters}


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


def assign_tensors(
    parameters: Iterable[Parameter], tensors: Mapping[str, np.ndarray], source: str
) -> None:
    """Set every parameter from the array of its name.

    Raises:
        MaamError: as ``check_tensors``; nothing has been changed then.
    """
    from mindspore import Tensor, ops

    targets = {p.name: p for p in parameters}
    check_tensors({name: target.shape for name, target in targets.items()}, tensors, source)
    for name, target in targets.items():
        # load_param_into_net and set_data are ignored by graphs that are compiled already.
        ops.assign(target, Tensor(tensors[name], target.dtype))


class _Preprocessing(BaseModel):
    model_config = ConfigDict(strict=True)

    size: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
    channels: Literal[1, 3]
    mean: list[FiniteFloat]
    std: list[Annotated[FiniteFloat, Field(gt=0)]]


class _Meta(BaseModel):
    """What a meta.json must hold for the run to be used; there is more in it."""

    model_config = ConfigDict(strict=True)

    model: str
    classes: Annotated[list[str], Field(min_length=2)]
    preprocessing: _Preprocessing
    config: dict[str, Any]


def read_meta(run: Path) -> dict[str, Any]:
    """The facts of a run folder, checked.

    Raises:
        MaamError: it is no run folder, or of a format this version does not know, or damaged.
    """
    try:
        meta = json.loads((run / META).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MaamError(f"{run} is not a run folder: it has no {META}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise MaamError(f"cannot read {run / META}: {error}") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise MaamError(f"{run / META} is not of format {FORMAT}: train again with this version")
    try:
        _Meta.model_validate(meta)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MaamError(f"{run / META}: {where}: {first['msg']}; train again") from None
    return meta


def write_meta(run: Path, meta: Mapping[str, Any]) -> None:
    """Write the facts of a run folder."""
    write_atomic(run / META, json.dumps(meta, indent=1, ensure_ascii=False) + "\n")


def model_shape(meta: Mapping[str, Any]) -> tuple[str, int, int, tuple[int, int]]:
    """The arguments of ``create_model`` that a run folder's facts tell."""
    preprocessing = meta["preprocessing"]
    height, width = preprocessing["size"]
    return meta["model"], len(meta["classes"]), preprocessing["channels"], (height, width)


def load_model(run: str | os.PathLike[str]) -> tuple[nn.Cell, dict[str, Any]]:
    """The trained network of a run folder or shipped model, ready for inference, and its facts.

    Either framework may have trained it; ``maam.torch.load_model`` gives it in PyTorch.

    Example:
        >>> net, meta = maam.load_model("runs/digits-maam")

    Raises:
        MaamError: it is no run folder, or its weights are damaged or of another model.
    """
    from maam.models import create_model

    run = find_run(run)
    meta = read_meta(run)
    net = create_model(*model_shape(meta))
    if meta.get("fused"):
        from maam.fuse import fuse

        net = fuse(net)
    tensors, _ = load_tensors(run / BEST)
    set_weights(net, tensors, str(run / BEST))
    return net.set_train(False), meta


def get_weights(net: nn.Cell) -> dict[str, np.ndarray]:
    """Copies of all parameters and statistics by name."""
    return read_tensors(net.get_parameters())


def set_weights(net: nn.Cell, tensors: Mapping[str, np.ndarray], source: str) -> None:
    """Set all parameters and statistics.

    Raises:
        MaamError: as ``check_tensors``; nothing has been changed then.
    """
    assign_tensors(net.get_parameters(), tensors, source)


def new_run_folder(wanted: Path | None, data: str, model: str) -> Path:
    """Make the folder for a new run.

    Args:
        wanted: the folder asked for, which must be absent, or hold nothing of a run that a new
            one would not write first; None numbers one.
        data, model: name a numbered one.

    Raises:
        MaamError: ``wanted`` is taken, or can't be made.
    """
    name = Path(data).name if Path(data).is_dir() else Path(data).stem
    stem = f"{name or 'data'}-{model}"
    number = 1
    while True:
        folder = wanted or Path("runs") / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True, exist_ok=wanted is not None)
        except FileExistsError:
            if wanted is None:
                number += 1
                continue
            raise MaamError(f"--out {folder} is a file: name a folder") from None
        except OSError as error:
            raise MaamError(f"cannot make the run folder {folder}: {error}") from None
        # A run that was stopped before it had its facts leaves no more than these.
        if {path.name for path in folder.iterdir()} - {CONFIG, ENVIRONMENT}:
            raise MaamError(
                f"--out {folder} is not empty: name another folder, or --resume {folder}"
            )
        return folder
