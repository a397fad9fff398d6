from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maam.core.errors import MaamError
from maam.deploy.formats import CSV_HEADER, Format, Prediction, exit_code, render, save, to_jsonl

CAT = Prediction("cat.jpg", ("cat", "dog"), (0.97312345678, 0.0268761), None)
BAD = Prediction("bad.png", error="the file is empty")
FORMATS: tuple[Format, ...] = ("table", "jsonl", "csv")


def rendered(predictions: list[Prediction], form: Format) -> str:
    stream = io.StringIO(newline="")
    render(predictions, form, stream)
    return stream.getvalue()


def test_jsonl() -> None:
    good, bad = rendered([CAT, BAD], "jsonl").splitlines()
    assert json.loads(good) == {
        "file": "cat.jpg",
        "unknown": False,
        "predictions": [
            {"class": "cat", "probability": 0.973123},
            {"class": "dog", "probability": 0.026876},
        ],
    }
    assert json.loads(bad) == {"file": "bad.png", "error": "the file is empty"}


def test_csv() -> None:
    assert rendered([CAT, BAD], "csv") == (
        "file,rank,class,probability,unknown,error\n"
        '"cat.jpg",1,"cat",0.973123,0,""\n'
        '"cat.jpg",2,"dog",0.026876,0,""\n'
        '"bad.png","","","","","the file is empty"\n'
    )


def test_what_is_likely_of_no_class_is_called_unknown() -> None:
    unsure = Prediction("car.jpg", ("cat", "dog"), (0.4, 0.3), unknown=True)
    assert rendered([unsure], "table") == "car.jpg  unknown, perhaps cat  40.0 %  dog  30.0 %\n"
    assert json.loads(rendered([unsure], "jsonl"))["unknown"] is True
    (best, _) = csv.DictReader(io.StringIO(rendered([unsure], "csv")))
    assert (best["class"], best["unknown"]) == ("cat", "1")


def test_table_is_aligned() -> None:
    sure = Prediction("a long name.png", ("aeroplane", "cat"), (1.0, 0.0))
    assert rendered([CAT, sure, BAD], "table").splitlines() == [
        "cat.jpg          cat        97.3 %  dog         2.7 %",
        "a long name.png  aeroplane 100.0 %  cat         0.0 %",
        "bad.png          unreadable: the file is empty",
    ]


@pytest.mark.parametrize(("form", "text"), [("table", ""), ("jsonl", ""), ("csv", CSV_HEADER)])
def test_nothing_to_write(form: Format, text: str) -> None:
    assert rendered([], form) == text


@pytest.mark.parametrize("form", FORMATS)
def test_counts_and_rows_beyond_the_first_screen(form: Format) -> None:
    stream = io.StringIO()
    assert render([CAT, BAD] * 50, form, stream) == (50, 50)
    rows = {"table": 100, "jsonl": 100, "csv": 151}[form]
    assert len(stream.getvalue().splitlines()) == rows


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_rows_are_written_as_they_come(form: Format) -> None:
    stream = io.StringIO()

    def one_then_look():
        yield CAT
        assert "cat.jpg" in stream.getvalue()

    assert render(one_then_look(), form, stream) == (1, 0)


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_names_survive_csv_and_jsonl(file: str, label: str) -> None:
    # st.text() has no surrogates: they have a test of their own.
    prediction = Prediction(file, (label,), (0.5,))
    rows = list(csv.reader(io.StringIO(rendered([prediction], "csv"), newline="")))
    assert rows[1:] == [[file, "1", label, "0.5", "0", ""]]
    line = rendered([prediction], "jsonl")
    assert line.count("\n") == 1
    assert line.isascii()
    found = json.loads(line)
    assert (found["file"], found["predictions"][0]["class"]) == (file, label)


@settings(max_examples=80, deadline=None)
@given(st.text(st.characters(), max_size=20))
def test_table_row_stays_one_line_without_control_characters(file: str) -> None:
    for prediction in (Prediction(file, (file,), (0.5,)), Prediction(file, error=file)):
        text = rendered([prediction], "table")
        assert text.endswith("\n")
        assert text[:-1].isprintable()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_no_file_name_breaks_a_stream(form: Format, encoding: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding, newline="")
    name = "caf\udce9 \U0001f408.png"  # a name in Latin-1 on a UTF-8 system, and a cat
    assert render([Prediction(name, ("é",), (0.5,))], form, stream) == (1, 0)
    stream.flush()
    text = raw.getvalue().decode(encoding)
    assert r"caf\udce9" in text
    if encoding == "utf-8" and form != "jsonl":
        assert "\U0001f408.png" in text


def test_jsonl_gives_a_name_back_that_is_not_unicode() -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    assert json.loads(to_jsonl(Prediction(name, error="x")))["file"] == name


def test_save_writes_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    assert save([CAT, BAD], "csv", path) == (1, 1)
    before = path.read_bytes()
    assert before.startswith(b"file,rank")
    assert b"\r" not in before

    def broken():
        yield CAT
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        save(broken(), "csv", path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_save_says_what_is_wrong_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(MaamError, match="not a regular file"):
        save([CAT], "csv", tmp_path)
    with pytest.raises(MaamError, match="cannot write"):
        save([CAT], "csv", tmp_path / "missing" / "answers.csv")


@pytest.mark.parametrize(("read", "failed", "code"), [(3, 0, 0), (3, 1, 1), (0, 2, 1), (0, 0, 1)])
def test_exit_code(read: int, failed: int, code: int) -> None:
    assert exit_code(read, failed) == code
