"""What 8-bit integers have cost and saved: the report of ``maam quantize``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from maam.core.errors import MaamError


@dataclass(frozen=True)
class Form:
    """A network in one form.

    Attributes:
        accuracy: on the images that were scored, 0 to 1.
        bytes: of the constants that C and the page hold.
        onnx_bytes: size of the ONNX file.
        latency_ms: of one image in ONNX Runtime, on one thread.
    """

    accuracy: float
    bytes: int
    onnx_bytes: int
    latency_ms: float


@dataclass(frozen=True)
class Int8Report:
    """What 8-bit integers have cost and saved.

    Attributes:
        run, model: what was quantised.
        calibration: training images that the grids were chosen from.
        split, images: which images were scored, and how many.
        float32, int8: before and after. The accuracy of int8 is that of the exact arithmetic of
            ``maam.deploy.int8``, the latency that of ONNX Runtime.
        drop: percentage points of accuracy lost.
        untuned_drop: those lost before fine-tuning; None if there was none.
        epochs: of fine-tuning that are in the integers; 0 if there was none, or it has not helped.
        same_answers: share of the images that both forms give the same class.
        onnx_difference: of model-int8.onnx from the exact arithmetic: an image's largest difference
            of a logit, in steps of an int8 grid; the median over images.
        onnx_largest: over all of these images.
        notes: what else a person should know.
    """

    run: str
    model: str
    calibration: int
    split: str
    images: int
    float32: Form
    int8: Form
    drop: float
    untuned_drop: float | None
    epochs: int
    same_answers: float
    onnx_difference: float
    onnx_largest: float
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class AccuracyLost(MaamError):
    """Integers lose more accuracy than is allowed; nothing has been written.

    Args:
        report: what was measured.
        most: percentage points that are allowed.
    """

    def __init__(self, report: Int8Report, most: float) -> None:
        tuned = report.untuned_drop is not None
        advice = "give more `finetune_epochs`" if tuned else "try `finetune_epochs=5`"
        wrong = round(report.drop * report.images / 100)
        super().__init__(
            f"{report.run}: int8 loses {report.drop:.2f} points of accuracy ({wrong:,} of "
            f"{report.images:,} images){', fine-tuned too' if tuned else ''}, more than "
            f"`max_drop={most:g}`: nothing was written; {advice}, more `images`, or allow more"
        )
        self.report = report


def report_rows(report: Int8Report) -> list[tuple[str, str, str]]:
    """Name, float32 and int8 of each measure, for people."""
    before, after = report.float32, report.int8
    return [
        (
            f"Accuracy, {report.images:,} {report.split} images",
            f"{before.accuracy:.2%}",
            f"{after.accuracy:.2%}",
        ),
        (
            "C and the page, KB of constants",
            f"{before.bytes / 1000:,.0f}",
            f"{after.bytes / 1000:,.0f}",
        ),
        ("ONNX file, KB", f"{before.onnx_bytes / 1000:,.0f}", f"{after.onnx_bytes / 1000:,.0f}"),
        (
            "Milliseconds an image (ONNX Runtime, one thread)",
            f"{before.latency_ms:.3f}",
            f"{after.latency_ms:.3f}",
        ),
    ]


def verdict(report: Int8Report) -> str:
    """What the numbers say, in a sentence or two."""
    lost = f"int8 loses {report.drop:.2f} points" if report.drop > 0 else "int8 loses no accuracy"
    if report.untuned_drop is not None:
        lost += f" ({report.untuned_drop:.2f} points before fine-tuning)"
    ratio = report.int8.latency_ms / report.float32.latency_ms
    speed = f"{ratio:.1f} times slower" if ratio > 1 else f"{1 / ratio:.1f} times faster"
    return (
        f"{lost} and gives {report.same_answers:.1%} of the images the same class. In ONNX Runtime "
        f"on this machine it is {speed} than float32."
    )
