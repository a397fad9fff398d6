"""maam: small image classifiers that people really deploy, built on MindSpore.

The public names below are resolved on first use, so ``import maam`` imports no framework.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

from maam.backend import prepare_environment

if TYPE_CHECKING:
    from maam.checkpoint import load_model as load_model
    from maam.data import load_dataset as load_dataset
    from maam.data.describe import describe as describe
    from maam.doctor import checks as doctor  # noqa: F401
    from maam.errors import MaamError as MaamError
    from maam.evaluate import evaluate as evaluate
    from maam.fuse import fuse as fuse
    from maam.models import create_model as create_model
    from maam.module import MAAM as MAAM
    from maam.module import AgentBlock as AgentBlock
    from maam.module import AgentFusion as AgentFusion
    from maam.module import Reduce as Reduce
    from maam.predict import predict as predict
    from maam.reproduce import reproduce as reproduce
    from maam.train import train as train
    from maam.variants import list_models as list_models

__version__ = "0.1.0"

_HOME = {
    "MAAM": "module",
    "AgentBlock": "module",
    "AgentFusion": "module",
    "Reduce": "module",
    "MaamError": "errors",
    "create_model": "models",
    "list_models": "variants",
    "load_dataset": "data",
    "describe": "data.describe",
    "doctor": "doctor:checks",
    "load_model": "checkpoint",
    "fuse": "fuse",
    "train": "train",
    "evaluate": "evaluate",
    "predict": "predict",
    "reproduce": "reproduce",
}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


class _Package(types.ModuleType):
    """A package whose verbs stay functions.

    Importing the submodule ``maam.train`` would replace the attribute ``maam.train``, which is
    the function. Dropping that one assignment keeps ``maam.train(...)`` callable, while
    ``from maam.train import train_step`` works as ever.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name == "torch":
        return importlib.import_module("maam.torch")
    if name not in _HOME:
        raise AttributeError(f"module 'maam' has no attribute {name!r}")
    home, _, attribute = _HOME[name].partition(":")
    if home in ("module", "models", "fuse") or name == "load_model":
        importlib.import_module("maam.frameworks").require("mindspore", f"maam.torch.{name}")
    value = getattr(importlib.import_module(f"maam.{home}"), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


# MindSpore reads its environment when it is first imported, and all ways to it lead through here.
prepare_environment()
