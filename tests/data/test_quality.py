from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from maam.data.description import describe
from maam.data.look import suited_size


def texture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    levels = rng.integers(40, 215, (16, 16, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize((64, 48), Image.Resampling.NEAREST)


def _dark(level: float) -> float:
    return level / 10


def _bright(level: float) -> float:
    return 255 - level / 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(40):
            texture(number + 50 * (label == "b")).save(tmp_path / label / f"{number:02}.png")
    return tmp_path


def test_ordinary_images_do_not_stand_out(folder: Path) -> None:
    found = describe(str(folder), image_size=64)
    assert found.outliers == {}
    assert found.advice == []


def test_images_that_stand_out_are_named_by_kind(folder: Path) -> None:
    texture(100).filter(ImageFilter.GaussianBlur(4)).save(folder / "a" / "blurred.png")
    texture(101).point(_dark).save(folder / "a" / "dark.png")
    texture(102).point(_bright).save(folder / "b" / "bright.png")
    Image.new("RGB", (64, 48), "navy").save(folder / "b" / "blank.png")
    found = describe(str(folder), image_size=64)
    assert {kind: [Path(s.name).name for s in o.listed] for kind, o in found.outliers.items()} == {
        "blurred": ["blurred.png"],
        "dark": ["dark.png"],
        "bright": ["bright.png"],
        "one colour": ["blank.png"],
    }
    assert sum("images that are" in line for line in found.advice) == 4


def test_images_of_one_colour_only_are_described(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / "ab"[number % 2]).mkdir(exist_ok=True)
        Image.new("RGB", (9 + number, 9)).save(tmp_path / "ab"[number % 2] / f"{number}.png")
    found = describe(str(tmp_path))
    assert {kind: each.count for kind, each in found.outliers.items()} == {"one colour": 6}


@pytest.mark.parametrize(("short_side", "size"), [(8, 32), (47, 32), (48, 64), (3000, 64)])
def test_the_size_to_train_at(short_side: int, size: int) -> None:
    assert suited_size(short_side) == size


def test_the_median_of_the_shorter_sides_decides(folder: Path) -> None:
    found = describe(str(folder))
    assert found.sizes.short_side == 48
    assert found.suggested_size == 64
    assert found.image_shape == (64, 64, 3)
    small = describe(str(folder), image_size=32)
    assert small.image_shape == (32, 32, 3)
    assert "`image_size=64`" in small.advice[-1]


def test_data_with_a_size_of_its_own_gets_no_suggestion() -> None:
    pytest.importorskip("sklearn")
    assert describe("digits").suggested_size is None
