"""Recipes: options from TOML files, checked; and back."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from maam.core.config import TrainConfig, make_config
from maam.core.errors import MaamError
from maam.core.schema import BaseModel


def read_recipe(path: Path) -> dict[str, Any]:
    """The options in a TOML recipe, checked; only those that the file sets.

    Raises:
        MaamError: no such file, no TOML, unknown key, value out of range.
    """
    try:
        options = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise MaamError(f"{path} is not TOML: {error}") from None
    except (OSError, ValueError) as error:  # a null character in the name, or another encoding
        raise MaamError(f"cannot read the recipe {path}: {error}") from None
    for key, value in options.items():
        if isinstance(value, bool) and key != "pretrained":  # pydantic would take it for 0 or 1
            raise MaamError(f"{path}: {key} is neither true nor false")
    make_config(TrainConfig, options, source=str(path))
    return options


def to_toml(config: BaseModel) -> str:
    """The set options of a config as TOML; ``read_recipe`` gives the same back."""
    lines = []
    for key, value in config.model_dump(mode="json", exclude_none=True).items():
        text = _toml_string(value) if isinstance(value, str) else repr(value)
        text = text.lower() if isinstance(value, bool) else text
        lines.append(f"{key} = {text}")
    return "\n".join(lines) + "\n"


def _toml_string(text: str) -> str:
    escaped = "".join(
        f"\\{char}" if char in '"\\' else char if char.isprintable() else f"\\U{ord(char):08x}"
        for char in text
    )
    return f'"{escaped}"'
