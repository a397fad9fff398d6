"""Every model by name: what it is, and what builds it in either framework."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatch
from typing import Any

from maam.core.errors import MaamError
from maam.core.frameworks import Backend
from maam.models.own import refuse_own
from maam.models.variants import MODELS
from maam.models.widths import model_row

Builder = str | Callable[..., Any]


@dataclass(frozen=True)
class Model:
    """A row of the registry.

    Attributes:
        description: one line.
        builders: framework -> what builds the network from (num_classes, in_channels, (H, W)) and
            ``arguments``: a class or function, or its place as ``module:name``.
        arguments: its further arguments.
    """

    description: str
    builders: Mapping[str, Builder]
    arguments: Mapping[str, Any] = field(default_factory=dict)


def _built_in(description: str, architecture: str, arguments: dict[str, Any]) -> Model:
    file, name = architecture.split(".")
    builders = {each: f"maam.{each}.models.{file}:{name}" for each in ("mindspore", "torch")}
    return Model(description, builders, arguments)


_models = {name: _built_in(*row) for name, row in MODELS.items()}


def register_model(
    name: str,
    description: str,
    builders: Mapping[str, Builder],
    arguments: Mapping[str, Any] | None = None,
) -> None:
    """Make a model known by name, for the option ``model`` and ``create_model``.

    Its last layer is the attribute ``classifier``, or the last one in it that has parameters;
    without such an attribute, the last one of the network.

    Args:
        name: as the option spells it.
        description: one line.
        builders: ``mindspore`` and ``torch``, or one of them, -> what builds the network: called
            with (num_classes, in_channels, (H, W)) and ``arguments``, it gives one that maps
            (N, in_channels, H, W) to logits (N, num_classes). A class or function, or its place as
            ``module:name``, which is imported when it is needed.
        arguments: its further arguments, by name.

    Raises:
        ValueError: the name is taken, has the form of another model's, or can't be a file's.
    """
    if name in (*_models, "auto") or name.startswith("maamnet-"):
        raise ValueError(f"there is a model {name!r} already, or one may get this name")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", name):
        raise ValueError(f"{name!r} can't be a model's name: take letters, digits, - and _")
    _models[name] = Model(description, dict(builders), dict(arguments or {}))


def is_registered(name: str) -> bool:
    """Whether a model is known by ``register_model``, in this process alone."""
    return name in _models and name not in MODELS


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a shell pattern, in the order of the table.

    A name that carries its widths, such as ``maamnet-16x1-32x5-64x3``, is in no table, and matches
    itself.

    Raises:
        MaamError: such widths are not those of a network.
    """
    names = [name for name in _models if fnmatch(name, pattern)]
    return names or ([pattern] if model_row(pattern) else [])


def describe_model(name: str) -> str:
    """One line about a model.

    Raises:
        MaamError: no model has this name; the nearest one is suggested. Or the widths in it are
            not those of a network.
    """
    return _known(name).description


def build_model(
    framework: str, name: str, num_classes: int, in_channels: int, image_size: tuple[int, int]
) -> Any:
    """The named model in a framework, freshly initialised.

    Args:
        framework: ``mindspore`` or ``torch``.
        name: of the model.
        num_classes, in_channels, image_size: the shape: (N, in_channels, *image_size) ->
            (N, num_classes).

    Raises:
        MaamError: no model has this name or is written for this framework, or it can't take images
            of this size.
    """
    model = _known(name)
    build = model.builders.get(framework)
    if build is None:
        raise MaamError(f"`model={name}` is not written for `framework={framework}`")
    if isinstance(build, str):
        module, _, attribute = build.partition(":")
        build = getattr(importlib.import_module(module), attribute)
    try:
        return build(num_classes, in_channels, image_size, **model.arguments)
    except ValueError as error:
        raise MaamError(f"`model={name}`: {error}") from None


def create_checked(
    backend: Backend, name: str, num_classes: int, in_channels: int, image_size: tuple[int, int]
) -> Any:
    """The named model of a framework, freshly initialised; one of a user's own is tried first.

    Raises:
        MaamError: as ``build_model``, or a registered one does not give logits of these classes.
    """
    shape = num_classes, in_channels, image_size
    net = backend.create_model(name, *shape)
    return backend.check_model(net, *shape) if is_registered(name) else net


def check_size(image_size: tuple[int, int], smallest: int) -> None:
    """Check that an image has ``smallest`` pixels a side.

    Raises:
        ValueError: it has fewer.
    """
    height, width = image_size
    if min(height, width) < smallest:
        raise ValueError(f"images of {height}x{width} pixels are too small for this model")


def _known(name: str) -> Model:
    if name in _models:
        return _models[name]
    if row := model_row(name):
        return _built_in(*row)
    refuse_own(name, "`model`", "give it in Python, as in maam.train(model=net)")
    near = get_close_matches(name, _models, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else "see `maam models`"
    raise MaamError(f"no model is called {name!r}: {hint}")
