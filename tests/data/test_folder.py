from __future__ import annotations

import io
import os
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hostile import encode, make_hostile, picture
from hypothesis import given, settings
from hypothesis import strategies as st

from maam.core.errors import MaamError
from maam.data.base import Dataset, Split
from maam.data.files.conversion import fit
from maam.data.files.decoding import decode
from maam.data.files.tree import scan
from maam.data.sources.folder import load


def plant(root: Path, names: Iterable[str]) -> Path:
    """Write one distinct small PNG to each of the names below ``root``."""
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encode(picture(12, 10, seed), "PNG"))
    return root


def numbered(folder: str, count: int) -> list[str]:
    return [f"{folder}/{number:03}.png" for number in range(count)]


def flat(root: Path, **counts: int) -> Path:
    return plant(root, [n for label, count in counts.items() for n in numbered(label, count)])


def members(split: Split, root: Path) -> list[str]:
    return [Path(name).relative_to(root).as_posix() for name in split.names]


def everything(dataset: Dataset) -> list[str]:
    return [*dataset.train.names, *dataset.val.names, *dataset.test.names]


def same(one: Split, other: Split) -> bool:
    return np.array_equal(one.pixels(), other.pixels()) and np.array_equal(one.labels, other.labels)


def test_train_val_and_test_folders_are_kept_as_they_are(tmp_path: Path) -> None:
    names = [
        *numbered("train/dog", 3),
        *numbered("train/cat/indoors", 2),
        "train/cat/b.png",
        *numbered("val/cat", 2),
        *numbered("test/dog", 1),
    ]
    dataset = load(plant(tmp_path / "pets", names), None, 0.5, 0)
    assert dataset.name == "pets"
    assert dataset.source == f"images in {tmp_path / 'pets'}"
    assert dataset.classes == ("cat", "dog")
    assert dataset.augment == "crop"
    assert members(dataset.train, tmp_path / "pets") == sorted(names[:6])
    assert members(dataset.val, tmp_path / "pets") == names[6:8]
    assert members(dataset.test, tmp_path / "pets") == names[8:]
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.train.labels.dtype == np.int32
    assert dataset.train.pixels().shape == (6, 32, 32, 3)
    assert dataset.train.pixels().dtype == np.uint8
    for split in (dataset.train, dataset.val, dataset.test):
        for image, name in zip(split.pixels(), split.names, strict=True):
            assert np.array_equal(image, fit(decode(Path(name)), (32, 32), 3))


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_val_has_three_names(name: str, tmp_path: Path) -> None:
    root = plant(tmp_path, [*numbered("train/a", 9), *numbered("train/b", 9)])
    dataset = load(plant(root, [f"{name}/a/1.png", f"{name}/b/2.png"]), 8, 0.1, 0)
    assert members(dataset.val, root) == [f"{name}/a/1.png", f"{name}/b/2.png"]
    assert len(dataset.test) == 4  # 20 % of the 18 training images
    assert len(dataset.train) == 14


def test_a_missing_val_is_held_out_of_train_and_never_of_test(tmp_path: Path) -> None:
    names = [*numbered("Training/a", 10), *numbered("Training/b", 10)]
    root = plant(tmp_path, [*names, *numbered("Testing/a", 5), *numbered("Testing/b", 5)])
    dataset = load(root, 8, 0.2, 0)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (16, 4, 10)
    assert sorted(members(dataset.train, root) + members(dataset.val, root)) == names
    assert Counter(dataset.val.labels.tolist()) == {0: 2, 1: 2}


def test_flat_class_folders_are_split_for_the_user(tmp_path: Path) -> None:
    dataset = load(flat(tmp_path, dog=50, cat=100), 8, 0.25, 0)
    assert dataset.classes == ("cat", "dog")
    assert Counter(dataset.test.labels.tolist()) == {0: 20, 1: 10}
    assert Counter(dataset.val.labels.tolist()) == {0: 20, 1: 10}
    assert Counter(dataset.train.labels.tolist()) == {0: 60, 1: 30}
    assert len(load(tmp_path, 8, 0.0, 0).val) == 0


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(3, 9), min_size=2, max_size=4),
    val_fraction=st.sampled_from([0.0, 0.1, 0.3]),
    seed=st.integers(0, 2**32 - 1),
)
def test_splits_are_disjoint_complete_and_repeatable(
    counts: list[int], val_fraction: float, seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = flat(Path(folder), **{f"class{i}": count for i, count in enumerate(counts)})
        one, two = load(root, 4, val_fraction, seed), load(root, 4, val_fraction, seed)
        names = everything(one)
        assert sorted(names) == sorted(str(path) for path in root.rglob("*.png"))
        assert set(one.train.labels.tolist()) == set(range(len(counts)))
        assert len(one.test) == round(sum(counts) * 0.2)
        assert names == everything(two)
        assert same(one.train, two.train)


def test_another_seed_gives_another_validation_split_but_the_same_test_split(
    tmp_path: Path,
) -> None:
    root = flat(tmp_path, a=20, b=20)
    one, two = load(root, 4, 0.1, 1), load(root, 4, 0.1, 2)
    assert one.val.names != two.val.names
    assert one.test.names == two.test.names


def pack(root: Path, archive: Path, top: str) -> Path:
    """Archive the files of ``root`` under the folder ``top``, last one first."""
    files = sorted((path for path in root.rglob("*") if path.is_file()), reverse=True)
    names = [top + path.relative_to(root).as_posix() for path in files]
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as target:
            for path, name in zip(files, names, strict=True):
                target.write(path, name)
    else:
        with tarfile.open(archive, "w" if archive.suffix == ".tar" else "w:gz") as target:
            for path, name in zip(files, names, strict=True):
                target.add(path, name)
    return archive


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.zip"])
@pytest.mark.parametrize("top", ["", "./", "pets-1.0/"])
@pytest.mark.parametrize("layout", ["{}", "train/{}"])
def test_an_archive_is_the_same_as_its_folder(
    name: str, top: str, layout: str, tmp_path: Path
) -> None:
    root = plant(
        tmp_path / "pets",
        [*numbered(layout.format("cat"), 8), *numbered(layout.format("dog/big"), 7)],
    )
    (root / layout.format("cat") / "broken.jpg").write_bytes(b"")
    (root / "notes.txt").write_text("mine")
    packed = load(pack(root, tmp_path / name, top), 8, 0.2, 3)
    folder = load(root, 8, 0.2, 3)
    assert packed.classes == folder.classes
    for one, other in [
        (packed.train, folder.train),
        (packed.val, folder.val),
        (packed.test, folder.test),
    ]:
        assert same(one, other)
    inside = top.removeprefix("./") + members(folder.train, root)[0]
    assert packed.train.names[0] == str(tmp_path / name / inside)
    assert [reason for _, reason in packed.skipped] == ["the file is empty"]


def test_one_more_folder_around_the_class_folders_is_looked_through(tmp_path: Path) -> None:
    root = flat(tmp_path / "outer" / "inner", a=5, b=5)
    assert load(tmp_path / "outer", 4, 0.1, 0).train.names == load(root, 4, 0.1, 0).train.names


def test_an_archive_with_a_path_outside_its_folder_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as target:
        for name in [*numbered("a", 4), *numbered("b", 4), "../../a/evil.png"]:
            info = tarfile.TarInfo(name)
            content = encode(picture(), "PNG")
            info.size = len(content)
            target.addfile(info, io.BytesIO(content))
    with pytest.raises(MaamError, match="evil"):
        load(archive, 4, 0.1, 0)


def test_a_damaged_archive_is_one_line(tmp_path: Path) -> None:
    whole = pack(flat(tmp_path / "pets", a=4, b=4), tmp_path / "a.tgz", "").read_bytes()
    (tmp_path / "cut.tgz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MaamError, match=r"cut\.tgz.*damaged or cut short"):
        load(tmp_path / "cut.tgz", 4, 0.1, 0)


def test_unreadable_files_are_named_and_left_out(tmp_path: Path) -> None:
    corpus = make_hostile(tmp_path / "odd")
    flat(tmp_path, plain=10)
    with pytest.raises(MaamError, match=r"13 of 52 images cannot be read, more than 1% \(odd/bomb"):
        load(tmp_path, 8, 0.1, 0)
    for name in ("bomb.png", "large.png", "vector.png"):  # ten are put up with
        (tmp_path / "odd" / name).unlink()
        del corpus[name]
    dataset = load(tmp_path, 8, 0.1, 0)
    unreadable = sorted(str(tmp_path / "odd" / name) for name, good in corpus.items() if not good)
    assert [name for name, _ in dataset.skipped] == unreadable
    assert ("empty.jpg", "the file is empty") in [(Path(n).name, r) for n, r in dataset.skipped]
    readable = {name for name, good in corpus.items() if good}
    assert {Path(n).name for n in everything(dataset) if "/odd/" in n} == readable
    assert dataset.image_shape == (8, 8, 3)  # the grey ones too


def test_files_that_are_not_the_users_images_do_not_count(tmp_path: Path) -> None:
    root = flat(tmp_path, a=5, b=5)
    for name in ["a/.hidden.png", "__MACOSX/a/._000.png", ".git/x.png", "a/Thumbs.db", "a/b.txt"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    plant(root, ["cover.png"])
    tree = scan(root)
    assert tree.classes == ("a", "b")
    assert [file.member for file in tree.files] == [*numbered("a", 5), *numbered("b", 5)]
    assert tree.ignored == {
        "not an image (.txt)": 1,
        "not in a class folder": 1,
        "hidden file": 1,
        "in the hidden folder .git": 1,
    }
    assert load(root, 4, 0.1, 0).skipped == ()


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    elsewhere = plant(tmp_path / "elsewhere", ["c/linked.png", *numbered("c", 4)])
    root = flat(tmp_path / "root", a=5, b=5)
    (root / "a" / "linked.png").symlink_to(elsewhere / "c" / "linked.png")
    (root / "c").symlink_to(elsewhere / "c")
    (root / "b" / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(root / "b" / "pipe.png")
    dataset = load(root, 4, 0.1, 0)
    assert dataset.classes == ("a", "b", "c")
    for name in ("a/linked.png", "c/linked.png", "c/000.png"):
        assert str(root / name) in everything(dataset)
    assert dataset.skipped == (
        (str(root / "b" / "dangling.png"), "No such file or directory"),
        (str(root / "b" / "pipe.png"), "it is not a regular file"),
    )


def test_train_can_be_a_class(tmp_path: Path) -> None:
    assert load(flat(tmp_path, train=5, car=5), 4, 0.1, 0).classes == ("car", "train")


def test_two_images_a_class_are_trained_on_and_scored_without_validation(tmp_path: Path) -> None:
    dataset = load(plant(tmp_path, [*numbered("a", 2), *numbered("b", 2)]), 4, 0.1, 0)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (3, 0, 1)
    assert set(dataset.train.labels) == {0, 1}
    assert any("none are held out for validation" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"no images in .*\(no files\): expected PATH/<class>"),
        (["a/1.psd", "b/2.psd"], r"no images in .*\(2 not an image \(\.psd\)\): expected"),
        (["1.png", "2.png"], r"no class folders to train on \(2 not in a class folder\): expected"),
        (["train/1.png", "test/2.png"], r"no class folders to train on \(1 in train, which has no"),
        (["val/a/1.png", "test/b/2.png"], "no class folders to train on"),
        (numbered("cat", 5), "only class 'cat' in .*, and two are needed"),
        ([*numbered("train/cat", 5), "test/cat/1.png"], "only class 'cat' in"),
        (
            [*numbered("train/a", 5), *numbered("train/b", 5), "test/Zebra/7.png"],
            "class 'Zebra' has test images but no training images in .*test/Zebra/7.png",
        ),
        (
            [*numbered("a", 5), *numbered("b", 1)],
            r"class 'b' \(1\): 2 or more are needed for the train and test splits$",
        ),
    ],
)
def test_a_tree_that_cannot_be_trained_on_says_why(
    names: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(MaamError, match=message) as caught:
        load(plant(tmp_path, names), 4, 0.1, 0)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_class_without_a_readable_image_says_why(tmp_path: Path) -> None:
    root = flat(tmp_path, a=5, b=0)
    (root / "b").mkdir()
    (root / "b" / "1.png").write_bytes(b"")
    with pytest.raises(MaamError, match=r"class 'b' \(0\): 2 .*b/1\.png: the file is empty"):
        load(root, 4, 0.1, 0)


def test_one_training_image_a_class_is_enough_when_nothing_is_held_out(tmp_path: Path) -> None:
    root = plant(tmp_path, ["train/a/1.png", "train/b/1.png", "test/a/1.png", "val/b/1.png"])
    dataset = load(root, 4, 0.1, 0)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (2, 1, 1)


def test_holding_out_a_whole_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaamError, match=r"`val_fraction=0\.9`: no training image of class"):
        load(flat(tmp_path, a=7, b=7, c=7), 4, 0.9, 0)


def test_a_path_that_is_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MaamError, match=r"nowhere: no such folder or archive"):
        load(tmp_path / "nowhere", 4, 0.1, 0)
    path = plant(tmp_path, ["cat.png"]) / "cat.png"
    with pytest.raises(MaamError, match=r"cat\.png is neither a folder nor a \.tar, .*: expected"):
        load(path, 4, 0.1, 0)
