"""How figures of a reproduction are written."""

from __future__ import annotations

from collections.abc import Sequence

from maam.paper.runs import Run, Spread


def printed(value: float) -> str:
    """0.87 -> ``87.0``: a fraction of the paper, in % with its own precision."""
    return f"{100 * value:.1f}"


def percent(value: float, signed: bool = False) -> str:
    """0.8049 -> ``80.49``."""
    return f"{100 * value:{'+' if signed else ''}.2f}"


def plus_minus(value: Spread) -> str:
    """``80.49 ± 0.21`` of fractions, or without the deviation of a single run."""
    tail = "" if value.deviation is None else f" ± {percent(value.deviation)}"
    return percent(value.mean) + tail


def counted(number: int, what: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def circumstances(runs: Sequence[Run]) -> str:
    """How often, how long, on what and where some runs of one model were trained."""
    spans = {(run["epochs"], run["images"]) for run in runs}
    what = " or ".join(
        f"{counted(epochs, 'epoch')} on {images:,} images" for epochs, images in sorted(spans)
    )
    return f"{counted(len(runs), 'run')} of {what}; {machines(runs)}"


def machines(runs: Sequence[Run]) -> str:
    """Where some runs were trained."""
    return ", ".join(dict.fromkeys(run["machine"] for run in runs))
