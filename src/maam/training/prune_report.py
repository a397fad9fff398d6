"""What pruning has cost and saved: the report of ``maam prune``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from maam.core.errors import MaamError


@dataclass(frozen=True)
class Network:
    """A run's network, folded as it is deployed.

    Attributes:
        model: its name, which carries its widths where no size has them.
        accuracy: of model.onnx on the images that were scored, 0 to 1.
        parameters, macs: multiply-accumulates are of one image.
        onnx_bytes: size of model.onnx.
        latency_ms: of one image in ONNX Runtime, on one thread.
    """

    model: str
    accuracy: float
    parameters: int
    macs: int
    onnx_bytes: int
    latency_ms: float


@dataclass(frozen=True)
class PruneReport:
    """What pruning has cost and saved.

    Attributes:
        run, out: what was pruned, and the run folder that came of it.
        keep: the share of channels that was asked for.
        kept: the share of all channels that stayed, with widths that are multiples of 8.
        epochs: of training after the channels were removed.
        split, images: which images were scored, and how many.
        before, after: the networks.
        drop: percentage points of accuracy lost.
        same_answers: share of the images that both networks give the same class.
    """

    run: str
    out: str
    keep: float
    kept: float
    epochs: int
    split: str
    images: int
    before: Network
    after: Network
    drop: float
    same_answers: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class PrunedTooFar(MaamError):
    """The smaller network loses more accuracy than is allowed; no folder is left.

    Args:
        report: what was measured.
        most: percentage points that are allowed.
    """

    def __init__(self, report: PruneReport, most: float) -> None:
        wrong = round(report.drop * report.images / 100)
        super().__init__(
            f"{report.run}: with {report.kept:.0%} of its channels it loses {report.drop:.2f} "
            f"points of accuracy ({wrong:,} of {report.images:,} images), more than "
            f"`max_drop={most:g}`: nothing was written; give more than `epochs={report.epochs}`, "
            f"keep more than `keep={report.keep:g}`, or allow more"
        )
        self.report = report


def report_rows(report: PruneReport) -> list[tuple[str, str, str]]:
    """Name, before and after of each measure, for people."""
    before, after = asdict(report.before), asdict(report.after)
    rows = (
        (f"Accuracy, {report.images:,} {report.split} images", "accuracy", "{:.2%}"),
        ("Parameters, folded", "parameters", "{:,}"),
        ("Multiply-accumulates per image", "macs", "{:,}"),
        ("ONNX file, bytes", "onnx_bytes", "{:,}"),
        ("Milliseconds an image (ONNX Runtime, one thread)", "latency_ms", "{:.3f}"),
    )
    return [(name, form.format(before[key]), form.format(after[key])) for name, key, form in rows]


def verdict(report: PruneReport) -> str:
    """What the numbers say, in a sentence or two."""
    before, after = report.before, report.after
    change = f"loses {report.drop:.2f} points" if report.drop > 0 else "loses no accuracy"
    ratio = after.latency_ms / before.latency_ms
    speed = f"{ratio:.1f} times slower" if ratio > 1 else f"{1 / ratio:.1f} times faster"
    return (
        f"{after.model} has {report.kept:.1%} of the channels, {change}, gives "
        f"{report.same_answers:.1%} of the images the same class and needs "
        f"{after.macs / before.macs:.0%} of the multiply-accumulates. In ONNX Runtime on this "
        f"machine it is {speed}."
    )
