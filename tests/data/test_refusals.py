"""What training would refuse is described, and named as such: always, and never else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hostile import encode, picture

from maam.core.errors import MaamError
from maam.data.description import Description, describe
from maam.data.sources.folder import load


def plant(root: Path, counts: dict[str, int]) -> Path:
    """Write so many distinct small PNGs into each folder below ``root``; -1: a broken one."""
    seed = 0
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(abs(count)):
            seed += 1
            content = encode(picture(12, 10, seed), "PNG") if count > 0 else b"no"
            (root / folder / f"{seed}-{number}.png").write_bytes(content)
    return root


def refused(root: Path, val_fraction: float = 0.1) -> Description:
    """The description of a folder that training refuses."""
    with pytest.raises(MaamError):
        load(root, None, val_fraction, 0)
    found = describe(str(root), val_fraction=val_fraction)
    assert found.refusals
    return found


def test_a_class_of_one_image_is_described_and_then_refused(tmp_path: Path) -> None:
    found = refused(plant(tmp_path, {"cat": 9, "dog": 1, "owl": 2}))
    assert found.classes == ("cat", "dog", "owl")
    assert sum(counts["dog"] for counts in found.counts.values()) == 1
    assert found.refusals == (
        "too few readable training images of 'dog' (1): 2 or more are needed for the train and "
        "test splits; add images, or take these classes out",
    )


def test_fewer_are_needed_where_splits_are_given(tmp_path: Path) -> None:
    assert not describe(
        str(plant(tmp_path, {"train/a": 1, "train/b": 1, "val/a": 1, "test/b": 1}))
    ).refusals
    load(tmp_path, None, 0.1, 0)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"a": 5}, "there is only class 'a'"),
        ({"a": 5, "b": -3}, "'b' (0)"),
        ({"a": -2, "b": -2}, "'a' (0), 'b' (0)"),
        ({"train/a": 5, "train/b": 5, "test/c": 2}, "no training images of 'c'"),
        ({"test/a": 5, "test/b": 5}, "no training images of 'a', 'b'"),
        ({"train/a": 1, "train/b": 5}, "'a' (1): 2 or more"),
    ],
)
def test_what_else_is_refused(tmp_path: Path, counts: dict[str, int], words: str) -> None:
    assert words in " ".join(refused(plant(tmp_path, counts)).refusals)


def test_all_is_refused_at_once(tmp_path: Path) -> None:
    found = refused(plant(tmp_path, {"train/a": 1, "val/b": 1}))
    assert len(found.refusals) == 3


def test_holding_out_too_much_is_refused(tmp_path: Path) -> None:
    root = plant(tmp_path, dict.fromkeys("abcdef", 7))
    assert "`val_fraction=0.9` leaves no training images of" in refused(root, 0.9).refusals[0]
    assert not describe(str(root), val_fraction=0.5).refusals


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    root = plant(tmp_path, {"a": 4, "b\udcff": 4})
    assert "not UTF-8" in refused(root).refusals[0]


@pytest.mark.parametrize("top", ["", "pets", "pets/train", "train"])
def test_empty_class_folders_are_named(tmp_path: Path, top: str) -> None:
    root = plant(tmp_path, {f"{top}/{name}" if top else name: 4 for name in ("cat", "dog")})
    (root / top / "owl" / "deep").mkdir(parents=True)
    (root / top / ".git").mkdir()
    found = refused(root)
    owl = str(Path(root, top, "owl"))
    assert list(found.empty) == [owl]
    assert f"no images in {owl}" in found.refusals[0]


def test_an_archive_that_training_refuses_is_described(tmp_path: Path) -> None:
    root = plant(tmp_path / "pets", {"cat": 9, "dog": 1})
    archive = shutil.make_archive(str(tmp_path / "pets"), "zip", root)
    assert describe(archive).refusals == describe(str(root)).refusals


def test_without_images_there_is_nothing_to_describe(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(MaamError, match="no images in"):
        describe(str(tmp_path))


def test_a_folder_without_class_folders_is_described_and_then_refused(tmp_path: Path) -> None:
    found = refused(plant(tmp_path, {"": 9, "test": 2}))
    assert found.counts["train"] == {"(no class)": 11}
    assert found.sizes.largest == (12, 10)
    assert found.formats == {"PNG": 11}
    assert [line.split(":")[0] for line in found.refusals] == ["no class folders"]


@pytest.mark.parametrize(("images", "broken"), [(20, 10), (30, 11), (1099, 11), (1100, 11)])
def test_ten_unreadable_images_or_one_in_a_hundred_are_put_up_with(
    tmp_path: Path, images: int, broken: int
) -> None:
    root = plant(tmp_path, {"cat": 5, "dog": 5, "owl": -broken})
    (root / "owl").rename(root / "cat" / "more")
    for number in range(images - 10 - broken):
        (root / "dog" / f"same-{number}.png").hardlink_to(min((root / "dog").iterdir()))
    if images in (30, 1099):
        words = f"{broken} of {images:,} images cannot be read, more than 1%"
        assert refused(root).refusals[0].startswith(words)
        with pytest.raises(MaamError, match=rf"{words} \(cat/more/11.*and 8 more\): get them"):
            load(root, None, 0.1, 0)
    else:
        assert len(load(root, 8, 0.1, 0).skipped) == broken
        assert not describe(str(root)).refusals
