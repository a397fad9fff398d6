"""What ``maam.benchmark`` has measured, as tables, as a sentence, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
"""A ``maam.deploy.measurement.Measurement``, as a dictionary."""

UNSTEADY = 3.0  # times the median that the slowest tenth of calls may take

HEADER = (
    *("runtime", "threads", "accuracy", "KB"),
    *("p50 ms", "p90 ms", "p99 ms", "img/s", "MiB", "load ms"),
)
STRICT_HEADER = (
    *("runtime", "threads", "right of 200", "right of all"),
    *("inferences/s", "p90 ms"),
)


def by_model(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each model, in their order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["model"], []).append(row)
    return groups


def title(rows: Sequence[Row]) -> str:
    """What a model is, from its rows: name and size."""
    row = rows[0]
    name = row["model"]
    if row["network"] and row["network"] != name:
        name += f" ({row['network']})"
    counts = [
        f"{row['parameters']:,} parameters" if row["parameters"] else "",
        f"{row['macs'] / 1e6:,.1f} M multiply-accumulates" if row["macs"] else "",
    ]
    return ": ".join(filter(None, (name, ", ".join(filter(None, counts)))))


def lines(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """A line of ``HEADER`` for each row."""
    return [
        (
            *_form(row),
            _percent(row["accuracy"]),
            f"{row['bytes'] / 1000:,.0f}",
            *(_ms(row[key]) for key in ("p50_ms", "p90_ms", "p99_ms")),
            "-" if row["images_per_second"] is None else f"{row['images_per_second']:,.0f}",
            f"{row['memory_mib']:.1f}",
            f"{row['load_ms']:.0f}",
        )
        for row in rows
    ]


def strict_lines(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """A line of ``STRICT_HEADER`` for each row, of a measurement by MLPerf Tiny's rules."""
    return [
        (
            *_form(row),
            _percent(row["accuracy_small"]),
            _percent(row["accuracy"]),
            f"{row['calls_per_second']:,.1f}",
            _ms(row["p90_ms"]),
        )
        for row in rows
    ]


def recommendation(rows: Sequence[Row]) -> str:
    """Which form of one model is the fastest on this machine, and by how much."""
    first, *others = sorted(rows, key=lambda row: row["p50_ms"])
    slowest = max(rows, key=lambda row: row["p90_ms"] / row["p50_ms"])
    if slowest["p90_ms"] > UNSTEADY * slowest["p50_ms"]:
        return (
            f"{first['model']}: no form is called the fastest, for calls varied too much: one of "
            f"{slowest['runtime']} in ten took more than {slowest['p90_ms']:.3f} ms, half of them "
            f"less than {slowest['p50_ms']:.3f}. Close other programs and measure again."
        )
    text = (
        f"{first['model']}: the fastest here is {first['runtime']} on {_threads(first)}, "
        f"{first['p50_ms']:.3f} ms an image"
    )
    rivals = [row for row in others if row["runtime"] != first["runtime"]]
    if rivals:
        ratio = rivals[0]["p50_ms"] / first["p50_ms"]
        text += f"; {rivals[0]['runtime']} takes {ratio:.2f} times as long"
    pairs = {row["precision"]: row["accuracy"] for row in (*reversed(others), first)}
    if None not in pairs.values() and len(pairs) == 2:
        drop = 100 * (pairs["float32"] - pairs["int8"])
        text += f"; int8 is right on {drop:.2f} points fewer" if drop > 0 else ""
    return f"{text}."


def csv_text(rows: Sequence[Row]) -> str:
    """All rows as CSV, with a line of names; several values in one cell are apart by spaces."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {
                key: " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
                for key, value in row.items()
            }
        )
    return text.getvalue()


def _form(row: Row) -> tuple[str, str]:
    return row["runtime"], str(row["threads"])


def _threads(row: Row) -> str:
    return f"{row['threads']} thread{'' if row['threads'] == 1 else 's'}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def _ms(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"
