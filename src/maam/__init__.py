"""maam: small image classifiers that people really deploy, built on MindSpore.

The public names below are resolved on first use, so ``import maam`` imports no framework, sets no
variable, and costs nothing. ``maam.torch`` is the same in PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maam.core.errors import MaamError as MaamError
    from maam.data import load_dataset as load_dataset
    from maam.data import register_source as register_source
    from maam.data.augment import register_augmentation as register_augmentation
    from maam.data.description import describe as describe
    from maam.data.packing import pack as pack
    from maam.deploy.benchmarking import benchmark as benchmark
    from maam.deploy.explanation import explain as explain
    from maam.deploy.exports import export as export
    from maam.deploy.int8_run import quantize as quantize
    from maam.deploy.prediction import predict as predict
    from maam.mindspore import MAAM as MAAM
    from maam.mindspore import AgentBlock as AgentBlock
    from maam.mindspore import AgentFusion as AgentFusion
    from maam.mindspore import Reduce as Reduce
    from maam.mindspore import create_model as create_model
    from maam.mindspore import fuse as fuse
    from maam.mindspore import load_model as load_model
    from maam.models import list_models as list_models
    from maam.models import register_model as register_model
    from maam.paper.reproduction import reproduce as reproduce
    from maam.training.evaluation import evaluate as evaluate
    from maam.training.label_errors import find_label_errors as find_label_errors
    from maam.training.pipeline import train as train
    from maam.training.prune_run import prune as prune
    from maam.training.readiness import doctor as doctor

__version__ = "0.1.0"

# What is written for MindSpore; PyTorch's is in maam.torch.
_MINDSPORE = ("MAAM", "AgentBlock", "AgentFusion", "Reduce", "create_model", "fuse", "load_model")

_HOMES = {
    **dict.fromkeys(_MINDSPORE, "mindspore"),
    "MaamError": "core.errors",
    "benchmark": "deploy.benchmarking",
    "describe": "data.description",
    "doctor": "training.readiness",
    "evaluate": "training.evaluation",
    "explain": "deploy.explanation",
    "export": "deploy.exports",
    "find_label_errors": "training.label_errors",
    "list_models": "models",
    "load_dataset": "data",
    "pack": "data.packing",
    "predict": "deploy.prediction",
    "prune": "training.prune_run",
    "quantize": "deploy.int8_run",
    "register_augmentation": "data.augment",
    "register_model": "models",
    "register_source": "data",
    "reproduce": "paper.reproduction",
    "train": "training.pipeline",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in ("mindspore", "torch"):
        return importlib.import_module(f"maam.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'maam' has no attribute {name!r}")
    if name in _MINDSPORE:
        from maam.core.frameworks import require_framework

        require_framework("mindspore", f"maam.torch.{name}")
    value = getattr(importlib.import_module(f"maam.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__", "mindspore", "torch"]
