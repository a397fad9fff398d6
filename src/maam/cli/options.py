"""What the verbs' options have in common."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token
from pydantic import BaseModel

from maam.core import config
from maam.core.benchmark_config import BenchmarkConfig
from maam.core.errors import MaamError
from maam.core.files import check_writable, write_atomic
from maam.core.prune_config import PruneConfig
from maam.core.reproduce_config import ReproduceConfig


def _whole(type_: Any, tokens: Sequence[Token]) -> int:
    """An integer; without this, 1.5 would be rounded."""
    (token,) = tokens
    try:
        return int(token.value)
    except ValueError:
        raise ValueError(f"{token.value!r} is not a whole number") from None


Whole = Annotated[int, Parameter(converter=_whole)]
Flags = Parameter(name="*")
Json = Annotated[Path | None, Parameter(name="--json")]

_OPTIONS = {"recipe", "resume", "jobs", "top_k", "format", "precision", "workers_per_node"}.union(
    *(
        schema.model_fields
        for schema in (*config.SCHEMAS, BenchmarkConfig, PruneConfig, ReproduceConfig)
    )
)

# What people give besides images. No result is written over such a file.
_INPUTS = {".csv", ".toml", ".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".onnx", ".safetensors"}


def given(config: BaseModel | None) -> dict[str, Any]:
    """The options that were given on the command line, and only those."""
    if config is None:
        return {}
    return {name: getattr(config, name) for name in config.model_fields_set}


def check_files(names: Sequence[str], verb: str) -> None:
    """Check that no name of a file is a misspelled option; a lone - is standard input.

    Raises:
        MaamError: one is.
    """
    for name in names:
        if name.startswith("-") and name != "-" and not Path(name).exists():
            raise MaamError(f"unknown option {name}: see `maam {verb} --help`")


def check_outputs(*paths: Path | None, over: tuple[str, ...] = ()) -> None:
    """Check, before work that takes long, that files can be written where they are wanted.

    Args:
        paths: of the files.
        over: suffixes of what is written, of the kinds that are input elsewhere; such a file may be
            written over.

    Raises:
        MaamError: one can't be, or is there and may be somebody's image, table, recipe or weights.
    """
    from maam.data.files.decoding import SUFFIXES  # Pillow, which few verbs need

    for path in paths:
        if path is not None:
            check_writable(path)
            suffix = path.suffix.lower()
            if suffix in SUFFIXES.union(_INPUTS).difference(over) and path.exists():
                raise MaamError(
                    f"cannot write {path}: it is there, and {suffix} is no file of this kind: name "
                    "another"
                )


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file for people too."""
    write_atomic(path, json.dumps(content, indent=1) + "\n")


def spelled(text: str) -> str:
    """A text with its options as flags: ```clip_norm=1`` becomes ``--clip-norm 1``, and a bare
    ``--pretrained`` or ``--no-pretrained`` says yes or no."""

    def flag(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in _OPTIONS:
            return match[0]
        flag = name.replace("_", "-")
        if value == "False":
            return f"--no-{flag}"
        return f"--{flag}" if value in (None, "True") else f"--{flag} {value}"

    return re.sub(r"`([a-z_]+)(?:=([^`]*))?`", flag, text)
