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
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, ValidationError

from maam.errors import MaamError
from maam.files import write_atomic

if TYPE_CHECKING:
    from mindspore import Parameter, nn

META, BEST, LAST = "meta.json", "best.safetensors", "last.safetensors"
FORMAT = 1


def save_tensors(path: Path, tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Write named arrays and JSON facts as safetensors, with a checksum over both."""
    from safetensors.numpy import save

    text = json.dumps(facts)
    write_atomic(path, save(dict(tensors), {"sha256": _digest(tensors, text), "maam": text}))


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


def assign_tensors(
    parameters: Iterable[Parameter], tensors: Mapping[str, np.ndarray], source: str
) -> None:
    """Set every parameter from the array of its name.

    Raises:
        MaamError: a name is missing or left over, a shape differs, or a value is not finite.
            Nothing has been changed then.
    """
    from mindspore import Tensor, ops

    targets = {p.name: p for p in parameters}
    missing, extra = targets.keys() - tensors.keys(), tensors.keys() - targets.keys()
    if missing or extra:
        what = f"lacks {min(missing)}" if missing else f"has an unknown {min(extra)}"
        raise MaamError(f"{source} holds the weights of another model: it {what}")
    for name, target in targets.items():
        if tensors[name].shape != target.shape:
            raise MaamError(
                f"{source} holds the weights of another model: {name} has the shape "
                f"{tensors[name].shape}, not {target.shape}"
            )
        if not np.isfinite(tensors[name]).all():
            raise MaamError(f"{source}: {name} has values that are not finite")
    for name, target in targets.items():
        # load_param_into_net and set_data are ignored by graphs that are compiled already.
        ops.assign(target, Tensor(tensors[name], target.dtype))


class TrainingState:
    """What a resumed run needs: network, optimiser, average, history, and the best epoch so far.

    The order of images and their augmentation depend on seed and epoch alone, so that a resumed
    run repeats the uninterrupted one to the last bit.
    """

    def __init__(self, net: nn.Cell, optimizer: nn.Cell, average: list[Parameter]) -> None:
        parameters = {p.name: p for p in (*net.get_parameters(), *average)}
        for parameter in optimizer.get_parameters():
            if not parameter.name.startswith("learning_rate"):  # rebuilt from the config
                parameters[parameter.name] = parameter
        self.parameters = list(parameters.values())
        self.history: list[dict[str, Any]] = []
        self.best_epoch = 0

    @property
    def epoch(self) -> int:
        """How many epochs are finished."""
        return len(self.history)

    def finish(self, row: dict[str, Any]) -> None:
        """Note a finished epoch; without validation images the newest is the best."""
        self.history.append(row)
        best = self.history[self.best_epoch - 1]["val_accuracy"] if self.best_epoch else None
        if row["val_accuracy"] is None or best is None or row["val_accuracy"] > best:
            self.best_epoch = row["epoch"]

    def finite(self) -> bool:
        """Whether all that ``save`` would write is finite."""
        return all(np.isfinite(p.asnumpy()).all() for p in self.parameters)

    def stalled(self, patience: int) -> bool:
        """Whether ``patience`` epochs have passed without a better one."""
        return 0 < patience <= self.epoch - self.best_epoch

    def save(self, folder: Path) -> None:
        """Write ``last.safetensors``."""
        facts = {"history": self.history, "best_epoch": self.best_epoch}
        tensors = read_tensors(self.parameters)
        save_tensors(folder / LAST, tensors, facts)

    def load(self, folder: Path) -> None:
        """Go on from ``last.safetensors``.

        Raises:
            MaamError: there is none, or it is damaged or of another model.
        """
        tensors, facts = load_tensors(folder / LAST)
        assign_tensors(self.parameters, tensors, str(folder / LAST))
        self.history, self.best_epoch = facts["history"], facts["best_epoch"]


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


def build_model(meta: Mapping[str, Any]) -> nn.Cell:
    """A fresh network of the shape that ``meta`` tells."""
    from maam.models import create_model

    preprocessing = meta["preprocessing"]
    height, width = preprocessing["size"]
    return create_model(
        meta["model"], len(meta["classes"]), preprocessing["channels"], (height, width)
    )


def load_model(run: str | os.PathLike[str]) -> tuple[nn.Cell, dict[str, Any]]:
    """The trained network of a run folder, ready for inference, and its facts.

    Example:
        >>> net, meta = maam.load_model("runs/digits-maam")

    Raises:
        MaamError: it is no run folder, or its weights are damaged or of another model.
    """
    meta = read_meta(Path(run))
    net = build_model(meta)
    tensors, _ = load_tensors(Path(run) / BEST)
    assign_tensors(net.get_parameters(), tensors, str(Path(run) / BEST))
    return net.set_train(False), meta


def new_run_folder(wanted: Path | None, data: str, model: str) -> Path:
    """Make the folder for a new run.

    Args:
        wanted: the folder asked for, which must be absent or empty; None numbers one.
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
        if any(folder.iterdir()):
            raise MaamError(
                f"--out {folder} is not empty: name another folder, or --resume {folder}"
            )
        return folder
