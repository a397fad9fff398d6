"""What the verbs' options have in common."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import BaseModel

from maam.core.files import write_atomic

Flags = Parameter(name="*")
Json = Annotated[Path | None, Parameter(name="--json")]


def given(config: BaseModel | None) -> dict[str, Any]:
    """The options that were given on the command line, and only those."""
    if config is None:
        return {}
    return {name: getattr(config, name) for name in config.model_fields_set}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file for people too."""
    write_atomic(path, json.dumps(content, indent=1) + "\n")
