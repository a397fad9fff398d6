"""A prediction and its forms: table, JSON lines, CSV."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from maam.core.files import atomic_path

CSV_HEADER = "file,rank,class,probability,unknown,error\n"

PERHAPS = "unknown, perhaps "  # before the best class of an image that is likely of no known one

_TABLE_ROWS = 64  # the first rows, which decide how wide the table's columns are

Format = Literal["table", "jsonl", "csv"]


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one image, best first; none if it could not be read.

    Attributes:
        file: the image's name, as in ``Item``.
        classes: the top-k class names.
        probabilities: their probabilities, 0 to 1, by softmax.
        error: why the image could not be read; None if it could.
        unknown: whether the best probability is so low that the image is likely of no known class:
            below the run's threshold.
    """

    file: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    error: str | None = None
    unknown: bool = False


def to_jsonl(prediction: Prediction) -> str:
    """One line of JSON, in ASCII so that every file name survives every terminal.

    ``{"file": ..., "unknown": ..., "predictions": [{"class": ..., "probability": ...}, ...]}``,
    or ``{"file": ..., "error": ...}``.
    """
    if prediction.error is not None:
        return json.dumps({"file": prediction.file, "error": prediction.error}) + "\n"
    ranked = [
        {"class": name, "probability": round(probability, 6)}
        for name, probability in zip(prediction.classes, prediction.probabilities, strict=True)
    ]
    answer = {"file": prediction.file, "unknown": prediction.unknown, "predictions": ranked}
    return json.dumps(answer) + "\n"


def to_csv(prediction: Prediction) -> str:
    """CSV rows under ``CSV_HEADER``: one a class, rank 1 first; one without rank for an error."""
    rows: list[tuple[object, ...]] = [
        (prediction.file, rank, name, round(probability, 6), int(prediction.unknown), "")
        for rank, (name, probability) in enumerate(
            zip(prediction.classes, prediction.probabilities, strict=True), 1
        )
    ]
    if prediction.error is not None:
        rows = [(prediction.file, "", "", "", "", prediction.error)]
    text = io.StringIO()
    # Texts are always quoted: the csv module forgets to quote a lone carriage return.
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerows(rows)
    return text.getvalue()


def render(predictions: Iterable[Prediction], format: Format, stream: TextIO) -> tuple[int, int]:
    """Write predictions as they come; what ``stream`` can't encode is written as ``\\udcff``.

    Returns:
        How many images were read, and how many were not.
    """
    tally: Counter[bool] = Counter()

    def counted() -> Iterator[Prediction]:
        for prediction in predictions:
            tally[prediction.error is None] += 1
            yield prediction

    encoding = stream.encoding or "utf-8"
    for text in _FORMATS[format](counted()):
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    return tally[True], tally[False]


def save(predictions: Iterable[Prediction], format: Format, path: Path) -> tuple[int, int]:
    """``render`` into a UTF-8 file that appears when it is complete.

    Raises:
        MaamError: the file can't be written.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        return render(predictions, format, file)


def exit_code(read: int, failed: int) -> int:
    """0 if every image was read; 1 if one was not, or there was none. (2 is wrong usage.)"""
    return 1 if failed or not read else 0


def _table(predictions: Iterator[Prediction]) -> Iterator[str]:
    first = list(itertools.islice(predictions, _TABLE_ROWS))
    file = max((len(printable(p.file)) for p in first), default=0)
    label = max((len(printable(name)) for p in first for name in p.classes), default=0)
    for p in itertools.chain(first, predictions):
        cells = [
            f"{printable(name):<{label}} {100 * probability:5.1f} %"
            for name, probability in zip(p.classes, p.probabilities, strict=True)
        ]
        if p.unknown:
            cells[0] = PERHAPS + cells[0]
        if p.error is not None:
            cells = [f"unreadable: {printable(p.error)}"]
        yield "  ".join([f"{printable(p.file):<{file}}", *cells]) + "\n"


def printable(text: str) -> str:
    """``text`` with line breaks, terminal escapes and the like written as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


_FORMATS: dict[str, Callable[[Iterator[Prediction]], Iterator[str]]] = {
    "table": _table,
    "jsonl": lambda predictions: map(to_jsonl, predictions),
    "csv": lambda predictions: itertools.chain([CSV_HEADER], map(to_csv, predictions)),
}
