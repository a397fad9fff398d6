"""Generated configurations: as TOML they come back the same, or they are refused in a line."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from matrix import Counts, check_line, counting
from mutations import mutations

from maam.core.config import SCHEMAS, TrainConfig, make_config
from maam.core.errors import MaamError
from maam.core.recipes import read_recipe, to_toml

_ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=5)
    | st.lists(st.integers(), max_size=3)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def configs(folder: Path, count: int) -> Counts:
    """``count`` configurations of all schemas: most of plausible values, some of any."""
    with counting("configurations") as counts:

        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(st.data())
        def one(data: st.DataObject) -> None:
            schema = data.draw(st.sampled_from((TrainConfig, *SCHEMAS)))
            names = data.draw(st.lists(st.sampled_from(list(schema.model_fields)), max_size=5))
            options = {name: data.draw(_value(schema, name)) for name in names}
            if data.draw(st.integers(0, 9)) == 0:
                options[data.draw(st.text(max_size=12))] = data.draw(_ANYTHING)
            counts.cases += 1
            _check(schema, options, folder / "config.toml", counts)

        one()
    return counts


def _value(schema: Any, name: str) -> st.SearchStrategy[Any]:
    kinds = {
        int: st.one_of(*[st.integers(8, 500)] * 9, st.integers(-1, 200_000)),
        float: st.one_of(*[st.floats(0, 0.9)] * 9, st.floats()),
        str: _TEXT,
        bool: st.booleans(),
        Path: _TEXT.map(Path),
        type(None): st.none(),
    }
    annotation = schema.model_fields[name].annotation
    if typing.get_origin(annotation) is typing.Literal:
        plausible = st.sampled_from(typing.get_args(annotation))
    else:
        parts = typing.get_args(annotation) or (annotation,)
        plausible = st.one_of(*(kinds[part] for part in parts))
    return st.one_of(*[plausible] * 19, _ANYTHING)


def _check(schema: Any, options: dict[str, Any], path: Path, counts: Counts) -> None:
    try:
        config = make_config(schema, options)
    except MaamError as error:
        return check_line(counts, error)
    except BaseException as error:
        return counts.fail(type(error).__name__, f"{options}: {error}")
    if schema is not TrainConfig:
        counts.fine += 1
        return None
    try:
        path.write_text(to_toml(config), encoding="utf-8")
        if TrainConfig(**read_recipe(path)) == config:
            counts.fine += 1
        else:
            counts.fail("another config came back", str(options))
    except BaseException as error:
        counts.fail(f"TOML: {type(error).__name__}", f"{options}: {error}")


def recipes(folder: Path, count: int, seed: int = 0) -> Counts:
    """``count`` mutations of a recipe's text: read, or refused in a line that names the file."""
    path = folder / "recipe.toml"
    seeds = [to_toml(TrainConfig(data="päts", ema=0.5, image_size=64)).encode(), b"epochs = 3\n"]
    with counting("mutated recipes") as counts:
        for content in mutations(seeds, count, seed):
            counts.cases += 1
            path.write_bytes(content)
            try:
                read_recipe(path)
                counts.fine += 1
            except BaseException as error:
                check_line(counts, error, str(path))
    return counts
