"""Generated configurations: as TOML they come back the same, or they are refused in a line."""

from __future__ import annotations

import typing
from collections.abc import Iterable
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
_PLAUSIBLE = ("digits", "cifar10", "photos/", "päts.tar", "maamnet-tiny", "auto", "sgd", "64k")
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def configs(folder: Path, count: int) -> Counts:
    """``count`` configurations, most of them for training: most of plausible values, some of any.

    Every accepted one for training goes to TOML and back.
    """
    trips = 0
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
            nonlocal trips
            schema = data.draw(st.sampled_from((*[TrainConfig] * 12, *SCHEMAS)))
            names = data.draw(st.lists(st.sampled_from(list(schema.model_fields)), max_size=5))
            options = {name: data.draw(_value(schema, name)) for name in names}
            if data.draw(_mostly(st.just(False), st.just(True))):
                options[data.draw(st.text(max_size=12))] = data.draw(_ANYTHING)
            counts.cases += 1
            trips += _check(schema, options, folder / "config.toml", counts)

        one()
    counts.measure("round trips", trips)
    return counts


def _value(schema: Any, name: str) -> st.SearchStrategy[Any]:
    """What a field takes, within its bounds; rarely any number or text, or anything at all."""
    field = schema.model_fields[name]
    annotation = field.annotation
    if typing.get_origin(annotation) is typing.Literal:
        plausible = st.sampled_from(typing.get_args(annotation))
    else:
        bounds = _bounds(field.metadata)
        kinds = {
            int: _mostly(st.integers(**_closed(bounds)), st.integers(-1, 200_000)),
            float: _mostly(st.floats(**bounds, allow_nan=False, allow_infinity=False), st.floats()),
            str: _mostly(st.sampled_from(_PLAUSIBLE), _TEXT),
            bool: st.booleans(),
            Path: _TEXT.map(Path),
            type(None): st.none(),
        }
        parts = typing.get_args(annotation) or (annotation,)
        plausible = st.one_of(*(kinds[part] for part in parts))
    return _mostly(plausible, _ANYTHING)


def _mostly(usual: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    # Not one_of, which would count each part of ``other`` as much as ``usual``.
    return st.sampled_from([usual] * 19 + [other]).flatmap(lambda chosen: chosen)


def _bounds(metadata: Iterable[Any]) -> dict[str, Any]:
    """A field's bounds, as ``st.floats`` takes them."""
    found: dict[str, Any] = {}
    for each in metadata:
        for bound, end in (("ge", "min"), ("gt", "min"), ("le", "max"), ("lt", "max")):
            if hasattr(each, bound):
                found[f"{end}_value"] = getattr(each, bound)
                found[f"exclude_{end}"] = bound in ("gt", "lt")
    return found


def _closed(bounds: dict[str, Any]) -> dict[str, int]:
    """The same for ``st.integers``, which knows no excluded ends."""
    inward = {"min": 1, "max": -1}
    return {
        f"{end}_value": bounds[f"{end}_value"] + step * bounds[f"exclude_{end}"]
        for end, step in inward.items()
        if f"{end}_value" in bounds
    }


def _check(schema: Any, options: dict[str, Any], path: Path, counts: Counts) -> bool:
    """Count a configuration; whether it went to TOML and came back the same."""
    try:
        config = make_config(schema, options)
    except MaamError as error:
        check_line(counts, error)
        return False
    except BaseException as error:
        counts.fail(type(error).__name__, f"{options}: {error}")
        return False
    try:
        if schema is TrainConfig:
            path.write_text(to_toml(config), encoding="utf-8")
            if TrainConfig(**read_recipe(path)) != config:
                counts.fail("another config came back", str(options))
                return False
    except BaseException as error:
        counts.fail(f"TOML: {type(error).__name__}", f"{options}: {error}")
        return False
    counts.fine += 1
    return schema is TrainConfig


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
