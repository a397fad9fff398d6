"""Which files below a folder, or in an archive, are the user's."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from hostile import encode, picture

from maam.core.errors import MaamError
from maam.data import load_dataset
from maam.data.description import describe
from maam.data.files.decoding import SUFFIXES
from maam.data.files.listing import suffix
from maam.data.files.tree import scan

PNG = encode(picture(8, 8), "PNG")


def plant(root: Path, *folders: str, count: int = 4) -> Path:
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / folder / f"{number}.png").write_bytes(PNG)
    return root


def write(path: Path, content: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def members(path: Path) -> list[str]:
    return sorted({str(Path(file.member).parent) for file in scan(path).files})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.PNG", ".png"),
        ("a.tar.gz", ".gz"),
        ("a", ""),
        ("a.", ""),
        (".png", ""),
        ("a b.Jpeg", ".jpeg"),
    ],
)
def test_a_suffix_is_what_comes_after_the_last_point(name: str, expected: str) -> None:
    assert suffix(name) == expected


def test_links_to_class_folders_and_splits_are_followed(tmp_path: Path) -> None:
    far = plant(tmp_path / "far", "dog", "val/cat", "val/dog")
    root = plant(tmp_path / "pets", "train/cat")
    (root / "train" / "dog").symlink_to(far / "dog")
    (root / "val").symlink_to(far / "val", target_is_directory=True)
    (root / "test").symlink_to("val")  # two names for one folder are no loop
    dataset = load_dataset(str(root), image_size=4)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (8, 8, 8)
    assert dataset.notes == ()
    (tmp_path / "link").symlink_to(root)
    assert members(tmp_path / "link") == members(root)


def test_a_folder_on_the_way_to_itself_is_left_out_and_named(tmp_path: Path) -> None:
    root = plant(tmp_path / "pets", "cat", "dog")
    (root / "cat" / "up").symlink_to("..")
    (root / "dog" / "here").symlink_to(".")
    (root / "dog" / "itself.png").symlink_to("itself.png")
    tree = scan(root)
    assert members(root) == ["cat", "dog"]
    assert tree.ignored == {
        "link to a folder that it lies in (cat/up)": 1,
        "link to a folder that it lies in (dog/here)": 1,
    }
    assert [Path(name).name for name, _ in load_dataset(str(root)).skipped] == ["itself.png"]


def test_links_that_multiply_are_refused(tmp_path: Path) -> None:
    root = plant(tmp_path / "pets", *(f"{number}" for number in range(9)))
    for one in range(9):
        for other in range(9):
            (root / str(one) / f"to-{other}").symlink_to(root / str(other))
    with pytest.raises(MaamError, match="over and over: delete some"):
        scan(root)


@pytest.mark.parametrize("name", ["dog", "val"])
def test_a_link_that_leads_nowhere_is_an_empty_folder(name: str, tmp_path: Path) -> None:
    root = plant(tmp_path / "pets", "train/cat", "train/cow")
    link = root / ("val" if name == "val" else f"train/{name}")
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(MaamError, match=rf"no images in .*{name} \(no files\): put images in"):
        load_dataset(str(root), image_size=4)


def test_hidden_images_are_named(tmp_path: Path) -> None:
    root = plant(tmp_path, "cat", "dog", ".bird", "__MACOSX", "cat/.ipynb_checkpoints")
    for name in ("cat/.1.png", "cat/._2.png", ".DS_Store", "cat/Thumbs.db"):
        (root / name).write_bytes(PNG)
    tree = scan(root)
    assert tree.classes == ("cat", "dog")
    assert tree.ignored == {
        "in the hidden folder .bird": 4,
        "in the hidden folder .ipynb_checkpoints": 4,
        "hidden file": 1,
    }
    note, _ = load_dataset(str(root), image_size=4).notes
    assert note.startswith("files that are not used: 4 in the hidden folder .")
    assert note in describe(str(root), image_size=4).advice


@pytest.mark.parametrize("suffix", [".tif", ".TIFF", ".jfif", ".jpe"])
def test_a_class_of_another_suffix_is_a_class(suffix: str, tmp_path: Path) -> None:
    root = plant(tmp_path, "cat")
    (root / "dog").mkdir()
    form = "TIFF" if "tif" in suffix.lower() else "JPEG"
    for number in range(4):
        (root / "dog" / f"{number}{suffix}").write_bytes(encode(picture(8, 8, number), form))
    dataset = load_dataset(str(root), image_size=4)
    assert dataset.classes == ("cat", "dog")
    assert sum(labels.tolist().count(1) for labels in (dataset.train.labels, dataset.test.labels))


@pytest.mark.skipif(".heic" in SUFFIXES, reason="this machine reads HEIC")
def test_a_class_of_heic_says_what_to_install(tmp_path: Path) -> None:
    root = plant(tmp_path, "cat", "dog")
    write(root / "bird" / "1.HEIC")
    with pytest.raises(MaamError, match=r"bird \(1 \.heic: pip install pillow-heif\): put images"):
        load_dataset(str(root), image_size=4)
    assert scan(root).ignored == {"not an image (.heic: pip install pillow-heif)": 1}


def test_run_folders_are_no_data(tmp_path: Path) -> None:
    root = plant(tmp_path, "cat", "dog")
    plain = load_dataset(str(root), image_size=4).digests()
    for run in ("runs/pets-maam", "runs/campaign/one", "best", "cat/mine"):
        plant(root, f"{run}/plots")
        for name in ("config.toml", "meta.json"):
            write(root / run / name)
    write(root / "runs" / "campaign" / "campaign.json")
    write(root / "runs" / "begun" / "config.toml")  # and stopped before it had its metadata
    write(root / "runs" / "begun" / "environment.json")
    (root / "runs" / "locked").mkdir()
    dataset = load_dataset(str(root), image_size=4)
    assert dataset.classes == ("cat", "dog")
    assert dataset.digests() == plain
    assert describe(str(root), image_size=4).classes == ("cat", "dog")


def test_runs_beside_splits_and_inside_a_wrapping_folder(tmp_path: Path) -> None:
    root = plant(tmp_path, "pets/train/cat", "pets/train/dog")
    for run in ("runs/pets-maam", "pets/runs/pets-maam", "pets/train/runs/pets-maam"):
        plant(root, f"{run}/plots")
        for name in ("config.toml", "meta.json"):
            write(root / run / name)
    assert members(root) == ["pets/train/cat", "pets/train/dog"]


def test_runs_can_be_a_class_of_images(tmp_path: Path) -> None:
    assert scan(plant(tmp_path, "runs", "walks")).classes == ("runs", "walks")


def test_pictures_that_maam_has_drawn_are_no_data(tmp_path: Path) -> None:
    root = plant(tmp_path, "cat", "dog", "explain", "cat/why")
    for folder in ("explain", "cat/why"):
        write(root / folder / ".maam")
    assert members(root) == ["cat", "dog"]
    with tarfile.open(tmp_path / "pets.tar", "w") as archive:
        for name in ("cat", "dog", "explain"):
            archive.add(root / name, name)
    assert members(tmp_path / "pets.tar") == ["cat", "dog"]
    with pytest.raises(MaamError, match="explain holds pictures of `maam explain`, not a data set"):
        scan(root / "explain")


def test_a_run_folder_is_no_data_set(tmp_path: Path) -> None:
    root = plant(tmp_path, "plots")
    for name in ("config.toml", "meta.json"):
        write(root / name)
    with pytest.raises(MaamError, match="is the run folder of a training, not a data set"):
        scan(root)


def test_empty_folders_and_links_in_an_archive_are_named(tmp_path: Path) -> None:
    root = plant(tmp_path / "pets", "cat", "dog")
    with tarfile.open(tmp_path / "pets.tar", "w") as archive:
        archive.add(root, "pets")
        for name, kind, target in [
            ("pets/cat/again.png", tarfile.SYMTYPE, "0.png"),
            ("pets/cat/twice.png", tarfile.LNKTYPE, "pets/cat/0.png"),
            ("pets/.bird/1.png", tarfile.REGTYPE, ""),
            ("pets/val", tarfile.SYMTYPE, "cat"),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info, io.BytesIO())
    tree = scan(tmp_path / "pets.tar")
    assert tree.ignored == {"in the hidden folder .bird": 1, "link in an archive": 2}
    assert list(tree.empty) == [str(tmp_path / "pets.tar" / "pets" / "val")]
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as packed:
        for file in scan(root).files:
            packed.write(file.name, file.member)
        packed.mkdir("bird")
        link = zipfile.ZipInfo("val")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(link, "cat")
    with pytest.raises(MaamError, match=r"pets\.zip/bird \(no files\): .* \(2 such folders\)"):
        load_dataset(str(tmp_path / "pets.zip"), image_size=4)
