"""`maam data --html`: the page shows what the description names, from files and from archives."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_report import Reader

from maam.cli.app import run

ODD = "<b> & \"odd\" 'one'"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label in ("cat", ODD):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(12):
            coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
            picture = coarse.resize((60, 40), Image.Resampling.BICUBIC)
            picture.save(tmp_path / "photos" / label / f"{number:02}.png")
    return tmp_path / "photos"


def read(page: str) -> Reader:
    return Reader(Path(page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_what_stands_out_is_shown(photos, form, capsys):
    shutil.copy(photos / "cat/03.png", photos / ODD / "copy.png")
    with Image.open(photos / "cat/04.png") as picture:
        picture.resize((30, 20)).save(photos / ODD / "small.png")
    Image.new("RGB", (60, 40), "navy").save(photos / "cat" / "blank.png")
    (photos / "cat" / "broken.png").write_bytes(b"no")
    data = photos if form == "folder" else shutil.make_archive(str(photos), "zip", photos)
    assert run(["data", str(data), "--html", "data.html"]) == 0
    page = read("data.html")
    for words in (
        "Training would take these 27 images of 2 classes",
        "The same image in two classes: 1",
        f"{ODD}/copy.png",
        "cat/03.png",
        "Images that look the same, in two classes: 1",
        "Images of one colour: 1",
        "Unreadable files: 1",
        "cat/broken.png",
        "60 x 40",
        "--image-size 32",
        "--labels --html data.html",
    ):
        assert words in page.text, words
    pictures = [dict(attributes) for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) >= 16 + 2 + 2 + 1  # samples, two pairs, the blank one
    assert "no picture" not in page.text


def test_refused_images_have_a_page_too(tmp_path):
    for label, count in (("cat", 9), ("dog", 1)):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (9, 9), (number, 0, 0)).save(tmp_path / f"pets/{label}/{number}.png")
    assert run(["data", str(tmp_path / "pets"), "--html", "pets.html"]) == 1
    page = read("pets.html")
    assert "Training would refuse these 10 images of 2 classes" in page.text
    assert "'dog' (1)" in page.text
    assert "maam train" not in page.text


def test_a_data_set_with_a_name_shows_what_the_network_sees():
    pytest.importorskip("sklearn")
    assert run(["data", "digits", "--html", "digits.html"]) == 0
    page = read("digits.html")
    assert sum(tag == "img" for tag, _ in page.tags) >= 80
    assert re.search(r"maam train digits --minutes 10", page.text)
    assert "--image-size" not in page.text


def test_a_page_that_cannot_be_written_is_one_line(photos, capsys):
    assert run(["data", str(photos), "--html", str(photos / "cat/00.png/x.html")]) == 2
    assert "x.html" in capsys.readouterr().err


@pytest.mark.slow
def test_doubtful_labels_are_shown():
    assert run(["data", "digits", "--labels", "--html", "digits.html"]) == 0
    page = read("digits.html")
    assert "Labels that are probably wrong: " in page.text
    assert "; looks like " in page.text
    assert "--labels" not in page.text
