"""``maam fuse``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from maam.cli import comparison
from maam.core.signals import deferred


def command(
    run: Path,
    /,
    *,
    out: Path | None = None,
    framework: Literal["auto", "mindspore", "torch"] = "auto",
) -> int:
    """Write a run folder whose weights are folded: the same answers from fewer operations.

    Prints parameters, multiply-accumulates, graph nodes and latency before and after. model.onnx
    is folded without it; the new folder is for the framework's weights.

    **Examples**

        maam fuse runs/digits-maam

    Parameters
    ----------
    run
        A run folder, as `maam train` makes it, or the name of a model that comes with its weights.
    out
        The folder to make; RUN-fused when not given, for shipped weights in the working directory.
    framework
        auto: what the run was trained with.
    """
    from maam.deploy.folding import fuse_run  # here, for it takes long

    with deferred():
        folder, costs = fuse_run(run, out, framework)
    comparison.folded(folder, costs)
    return 0
