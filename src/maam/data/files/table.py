"""A CSV file that names images and their classes.

    file,label,split
    photos/1.jpg,cat,train

Commas, semicolons or tabs; with a header that has names of ``COLUMNS``, or without one: then two
columns, or three with the split. Paths are relative to the CSV file. Without a split column all
images are training images.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from maam.core.errors import MaamError
from maam.data.files.layout import SPLITS
from maam.data.files.listing import is_image

SUFFIX = ".csv"
COLUMNS = {
    "file": ("file", "filename", "file_name", "filepath", "file_path", "path", "image",
             "image_path", "image_name", "image_file", "img"),
    "label": ("label", "class", "category", "class_name", "label_name", "target"),
    "split": ("split", "subset", "set", "partition"),
}  # fmt: skip
_DELIMITERS = ",;\t"


class Row(NamedTuple):
    """An image that the table names: its path as it stands there, split and class."""

    file: str
    split: str
    label: str


def read_table(path: Path) -> list[Row]:
    """The images that a CSV file names, in its order.

    Raises:
        MaamError: the file can't be read or has no such columns; or a line, which it names with
            the column, lacks a value, has an unknown split, or names an image that is not there
            or was named before.
    """
    lines = list(_lines(path))
    if not lines:
        raise MaamError(f"{path} is empty: expected lines of file and label")
    first, columns = _columns(path, lines[0][1])
    rows: list[Row] = []
    seen: dict[Path, int] = {}
    for number, cells in lines[first:]:
        row = _row(path, number, cells, columns)
        file = path.parent / row.file
        where = f"{path}, line {number}, column {columns['file'] + 1}: {row.file!r}"
        if not file.exists():
            raise MaamError(f"{where} is not there: paths are relative to {path.parent}")
        if (before := seen.setdefault(file, number)) != number:
            raise MaamError(f"{where} is in line {before} already: name an image once")
        rows.append(row)
    return rows


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of the lines that are not empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise MaamError(f"cannot read {path}: {reason}") from None
    head = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=head.count))
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise MaamError(f"{path}, line {reader.line_num}: {error}") from None


def _columns(path: Path, cells: Sequence[str]) -> tuple[int, dict[str, int]]:
    """How many lines the header takes, and the number of each column that there is, from 0."""
    names = [cell.lower().replace(" ", "_") for cell in cells]
    columns = {
        column: min(
            (number for number, name in enumerate(names) if name in known),
            key=lambda number: known.index(names[number]),
        )
        for column, known in COLUMNS.items()
        if not set(names).isdisjoint(known)
    }
    if "file" in columns and "label" in columns:
        return 1, columns
    files = [number for number, cell in enumerate(cells) if is_image(cell)]
    if not columns and len(cells) in (2, 3) and len(files) == 1 and files[0] < 2:
        return 0, {"file": files[0], "label": 1 - files[0], **({"split": 2} if cells[2:] else {})}
    missing = "file" if "file" not in columns else "label"
    raise MaamError(
        f"{path}, line 1: no column for the {missing}: name one "
        f"{', '.join(COLUMNS[missing])}; the line has "
        f"{_shorten(', '.join(map(repr, cells)))}"
    )


def _shorten(text: str, most: int = 100) -> str:
    """The text, or its beginning."""
    return text if len(text) <= most else f"{text[:most]}..."


def _row(path: Path, number: int, cells: Sequence[str], columns: dict[str, int]) -> Row:
    values = {"split": "train"}
    for column, at in columns.items():
        value = cells[at] if at < len(cells) else ""
        where = f"{path}, line {number}, column {at + 1}"
        if not value:
            raise MaamError(f"{where}: there is no {column}")
        if not value.isprintable():
            raise MaamError(f"{where}: {value!r} has characters that can't be printed")
        if column == "split":
            if value.lower() not in SPLITS:
                raise MaamError(f"{where}: {value!r} is none of train, val and test")
            value = SPLITS[value.lower()]
        values[column] = value
    return Row(**values)
