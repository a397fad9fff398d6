"""Pictures for people: whole, upright, from folders and archives."""

from __future__ import annotations

import zipfile

import pytest
from PIL import Image

from maam.data.thumbnails import seen_part, thumbnails


def test_files_and_members_of_archives(tmp_path):
    Image.new("RGB", (400, 100), "red").save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    Image.new("RGB", (40, 20), "blue").save(tmp_path / "b.jpg", exif=exif)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "cat/a.png")
    (tmp_path / "bad.png").write_bytes(b"bad")
    (tmp_path / "bad.zip").write_bytes(b"bad")
    names = ["a.png", "b.jpg", "all.zip/cat/a.png", "bad.png", "bad.zip/x.png", "gone.png"]
    paths = [str(tmp_path / name) for name in names]
    found = thumbnails([*paths, "train/17"], 100)
    assert {name: picture.size for name, picture in found.items()} == {
        paths[0]: (100, 25),
        paths[1]: (20, 40),
        paths[2]: (100, 25),
    }


@pytest.mark.parametrize(
    ("picture", "network", "part"),
    [
        ((400, 200), (32, 32), (0.25, 0, 0.75, 1)),
        ((200, 400), (32, 32), (0, 0.25, 1, 0.75)),
        ((300, 200), (64, 96), (0, 0, 1, 1)),
        ((200, 200), (64, 128), (0, 0.25, 1, 0.75)),
    ],
)
def test_the_part_that_a_network_sees(picture, network, part):
    assert seen_part(picture, network) == pytest.approx(part)
