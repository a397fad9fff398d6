"""Our C++ operators as MindSpore's: where they are usable, and how a graph shares them."""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import Tensor, float32, nn, ops
from mindspore.ops.functional import isconstant

from maam.native import build


def usable(name: str) -> bool:
    """Whether a C++ file's operators are there and MindSpore computes on the CPU."""
    return ms.get_context("device_target") == "CPU" and build.library("mindspore", name)[0]


def library(name: str) -> str:
    """The compiled form of a C++ file; only where it is ``usable``."""
    return build.library("mindspore", name)[1]


def takes(x: Tensor) -> bool:
    """Whether the operators take this input: float32, not empty, its shape known when a graph is
    compiled."""
    return x.dtype == float32 and isconstant(x.shape) and 0 not in x.shape


def is_exactly(cell: nn.Cell, kind: type[nn.Cell]) -> bool:
    """Whether a cell is of a class, and not of one derived from it, which may compute otherwise."""
    # Graphs don't know ``type(cell) is kind``.
    named = cell.cls_name == kind.__name__ and cell.__module__ == kind.__module__
    return isinstance(cell, kind) and named


def operator(*arguments: Any, **options: Any) -> ops.Custom:
    """``ops.Custom`` that a copied network shares: it has no state, and can't be copied."""

    class Operator(ops.Custom):
        def __deepcopy__(self, memo: dict) -> Operator:
            return self

    return Operator(*arguments, **options)
