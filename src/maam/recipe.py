"""Recipes: options from TOML files, run folders and callers, checked and merged; and back."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from maam.config import CONFIG, RESUMABLE, SOURCES, TrainConfig, make_config
from maam.errors import MaamError
from maam.frameworks import choose
from maam.schema import BaseModel


def read_recipe(path: Path) -> dict[str, Any]:
    """The options in a TOML recipe, checked; only those that the file sets.

    Raises:
        MaamError: no such file, no TOML, unknown key, value out of range.
    """
    try:
        options = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MaamError(f"cannot read the recipe {path}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise MaamError(f"{path} is not TOML: {error}") from None
    for key, value in options.items():
        if isinstance(value, bool) and key != "pretrained":  # pydantic would take it for 0 or 1
            raise MaamError(f"{path}: {key} is neither true nor false")
    make_config(TrainConfig, options, source=str(path))
    return options


def resolve(
    options: dict[str, Any], recipe: Path | str | None = None, run: Path | None = None
) -> TrainConfig:
    """The options of a training: defaults, then the recipe's or the resumed run's, then given ones.

    Args:
        options: the given ones.
        recipe: a TOML file.
        run: the run folder to go on with; only ``RESUMABLE`` options may differ from its own.

    Raises:
        MaamError: unknown option, value out of range, unreadable file, or a change that a resumed
            run can't make.
    """
    if run is None:
        base = read_recipe(Path(recipe)) if recipe is not None else {}
        given = absolute({**base, **options})
        if given.get("pretrained") and given.setdefault("normalize", "standard") == "unit":
            raise MaamError(
                "--normalize unit: --pretrained has its own normalisation: leave it out"
            )
        return _with_framework(make_config(TrainConfig, given))
    if recipe is not None:
        raise MaamError("--resume goes on with the run's own options: leave --recipe out")
    if not (run / CONFIG).is_file():
        raise MaamError(f"--resume {run} is not a run folder: it has no {CONFIG}")
    base = read_recipe(run / CONFIG)
    wanted = _with_framework(make_config(TrainConfig, absolute({**base, **options})))
    before = _with_framework(make_config(TrainConfig, base))
    for key in options:
        if key == "out":
            raise MaamError(f"--resume goes on in {run}: leave --out out")
        if key not in RESUMABLE and getattr(wanted, key) != getattr(before, key):
            raise MaamError(
                f"--resume can't change {key}: only {', '.join(sorted(RESUMABLE))} may differ"
            )
    return wanted


def _with_framework(config: TrainConfig) -> TrainConfig:
    """The options with the framework that ``auto`` stands for on this machine."""
    return config.model_copy(update={"framework": choose(config.framework)})


def absolute(options: dict[str, Any]) -> dict[str, Any]:
    """The options with absolute paths, so that they hold in any working directory."""
    found = dict(options)
    if (data := options.get("data")) and data not in SOURCES:
        found["data"] = os.path.abspath(os.path.expanduser(data))
    for key in ("data_dir", "teacher"):
        path = os.path.expanduser(options.get(key) or "")
        if path and (key == "data_dir" or os.path.isdir(path)):  # else a shipped teacher's name
            found[key] = os.path.abspath(path)
    return found


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
