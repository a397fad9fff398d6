"""A CSV file of file and label as a data set."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile import encode, picture

from maam.core.errors import MaamError
from maam.data import load_dataset
from maam.data.description import describe
from maam.data.files.tree import scan


def table(root: Path, text: str, images: int = 8) -> Path:
    """Write images photos/0.png, ... and a CSV file beside the folder."""
    (root / "photos").mkdir(exist_ok=True)
    for number in range(images):
        (root / "photos" / f"{number}.png").write_bytes(encode(picture(8, 8, number), "PNG"))
    (root / "labels.csv").write_text(text, encoding="utf-8")
    return root / "labels.csv"


def lines(form: str, count: int = 8) -> str:
    return "\n".join(
        form.format(file=f"photos/{number}.png", label=("cat", "dog")[number % 2])
        for number in range(count)
    )


@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("", "{file},{label}"),
        ("", "{label},{file}"),
        ("", "{file};{label}"),
        ("file,label\n", "{file},{label}"),
        ("Class,weight,File Name\n", "{label},1.5,{file}"),
        ("\ufeffimage\tcategory\r\n", "{file}\t{label}\r"),
        ('"path","label"\n\n', '"{file}", {label}'),
    ],
)
def test_columns_are_known_by_name_or_by_place(header: str, form: str, tmp_path: Path) -> None:
    path = table(tmp_path, header + lines(form))
    tree = scan(path)
    assert tree.classes == ("cat", "dog")
    assert [(file.member, file.label) for file in tree.files[:2]] == [
        ("photos/0.png", "cat"),
        ("photos/1.png", "dog"),
    ]
    dataset = load_dataset(str(path), image_size=4)
    assert dataset.train.names[0].startswith(str(tmp_path / "photos"))
    assert len(dataset.all) == 8
    assert describe(str(path), image_size=4).counts["test"] == {"cat": 1, "dog": 1}


def test_a_split_column(tmp_path: Path) -> None:
    rows = [f"photos/{n}.png,{'ab'[n % 2]},{s}" for n, s in enumerate(["train", "Train", "Valid"])]
    rows.append("photos/3.png,b,testing")
    for header in ("", "image,class,subset\n"):
        dataset = load_dataset(str(table(tmp_path, header + "\n".join(rows))), image_size=4)
        assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (2, 1, 1)


def test_an_unreadable_image_is_named_and_left_out(tmp_path: Path) -> None:
    path = table(tmp_path, lines("{file},{label}"))
    (tmp_path / "photos" / "0.png").write_bytes(b"")
    dataset = load_dataset(str(path), image_size=4)
    assert dataset.skipped == ((str(tmp_path / "photos" / "0.png"), "the file is empty"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"labels\.csv is empty"),
        ("a,b\nc,d", "line 1: no column for the file: name one file, filename.*'a', 'b'"),
        ("file,colour\nphotos/0.png,red", "line 1: no column for the label: name one label, class"),
        (
            "file,label\nphotos/0.png,a\nphotos/9.png,b",
            r"line 3, column 1: 'photos/9.png' is not t",
        ),
        ("label,file\na,photos/0.png\nb,", "line 3, column 2: there is no file"),
        ("photos/0.png,a\nphotos/1.png", "line 2, column 2: there is no label"),
        ("photos/0.png,a\nphotos/0.png,b", "line 2, column 1: 'photos/0.png' is in line 1 already"),
        ("photos/0.png,a,train\nphotos/1.png,b,dev", "line 2, column 3: 'dev' is none of train, v"),
        ('file,label\nphotos/0.png,"a\nb"', r"line 3, column 2: 'a\\nb' has characters"),
        ("photos/0.png,a\nphotos/1.png,a", "only class 'a' in"),
        ("file,label", "no images in"),
        (
            "photos/0.png,a,train\nphotos/1.png,b,train\nphotos/2.png,c,test",
            "class 'c' has test im",
        ),
    ],
)
def test_an_error_names_line_and_column(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(MaamError, match=message) as caught:
        scan(table(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "labels.csv") in str(caught.value)


def test_what_is_no_text_is_one_line(tmp_path: Path) -> None:
    path = table(tmp_path, "")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MaamError, match=r"cannot read .*labels\.csv: it is not UTF-8 text"):
        scan(path)
    path.write_text("a" * 200_000 + ",b")
    with pytest.raises(
        MaamError, match=r"labels\.csv, line \d: (field larger than|no column)"
    ) as caught:
        scan(path)
    assert len(str(caught.value)) < 600
