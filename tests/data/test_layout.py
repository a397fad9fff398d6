"""Which folders are splits and which are classes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hostile import encode, picture

from maam.core.errors import MaamError
from maam.data import load_dataset
from maam.data.description import describe
from maam.data.files.tree import Tree, scan

PNG = encode(picture(8, 8), "PNG")


def plant(root: Path, folders: dict[str, int]) -> Path:
    """Write so many images into each folder; a folder of none is made all the same."""
    for folder, count in folders.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / folder / f"{number}.png").write_bytes(PNG)
    return root


def placed(tree: Tree) -> dict[str, str]:
    """Folder -> split and class of the images in it."""
    return {os.path.dirname(file.member): f"{file.split} {file.label}" for file in tree.files}


def pets(*roots: str) -> dict[str, int]:
    return {f"{root}/{label}": 3 for root in roots for label in ("cat", "dog")}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("seg_train", "seg_test"),
        ("training_set/training_set", "test_set/test_set"),
        ("train/train", "test/test"),
        ("TRAIN", "Testing"),
        ("TrainSet", "ValSet"),
        ("train2017", "val2017"),
        ("pets-train-images", "pets-validation-images"),
        ("archive/Data/train", "archive/Data/test"),
        ("archive/Data/seg_train/seg_train", "archive/Data/seg_test/seg_test"),
        ("training", "valid_small"),
    ],
)
def test_split_folders_are_known_by_a_part_of_their_name(
    train: str, test: str, tmp_path: Path
) -> None:
    tree = scan(plant(tmp_path, pets(train, test)))
    split = "val" if "val" in test.lower() else "test"
    assert placed(tree) == {
        f"{train}/cat": "train cat",
        f"{train}/dog": "train dog",
        f"{test}/cat": f"{split} cat",
        f"{test}/dog": f"{split} dog",
    }
    assert tree.ignored == {} and tree.empty == {}


@pytest.mark.parametrize("name", ["test", "Testing", "test_set", "test/test", "val"])
def test_a_split_beside_class_folders(name: str, tmp_path: Path) -> None:
    tree = scan(plant(tmp_path, {"cat": 3, "dog": 3, **pets(name)}))
    split = "val" if name == "val" else "test"
    assert placed(tree) == {
        "cat": "train cat",
        "dog": "train dog",
        f"{name}/cat": f"{split} cat",
        f"{name}/dog": f"{split} dog",
    }


def test_splits_inside_the_classes(tmp_path: Path) -> None:
    tree = scan(plant(tmp_path, {"cat/train": 2, "cat/test": 1, "dog/Train": 2, "dog/valid": 1}))
    assert placed(tree) == {
        "cat/train": "train cat",
        "cat/test": "test cat",
        "dog/Train": "train dog",
        "dog/valid": "val dog",
    }


def test_folders_below_a_class_folder_mean_nothing(tmp_path: Path) -> None:
    folders = {"cat/indoors": 2, "cat/outdoors/night": 1, "dog": 2, "dog/indoors": 1}
    assert placed(scan(plant(tmp_path, folders))) == {
        "cat/indoors": "train cat",
        "cat/outdoors/night": "train cat",
        "dog": "train dog",
        "dog/indoors": "train dog",
    }


def test_folders_below_class_folders_are_said_to_mean_nothing(tmp_path: Path) -> None:
    """Two shootings of the same pets: whoever meant cat and dog must hear of it."""
    root = plant(tmp_path, pets("monday", "tuesday"))
    said = (
        "folders below a class folder mean nothing: monday/cat (one of 4 such folders) is of class "
        "'monday'"
    )
    assert scan(root).classes == ("monday", "tuesday")
    assert said in load_dataset(str(root), image_size=4).notes
    assert said in describe(str(root), image_size=4).advice
    assert not scan(plant(tmp_path / "split", pets("train/train", "test"))).notes


@pytest.mark.parametrize(
    "folders",
    [
        {"test_tube": 3, "train_station": 3, "tram": 3},
        {"bullet_train": 3, "car": 3},
        {"train": 3, "car": 3},
        {"test": 3, "control": 3},
        {"valid": 3, "invalid": 3},
        {"bullet_train/a": 3, "test_tube": 3, "tram/a": 3},
    ],
)
def test_a_class_may_have_such_a_word_in_its_name(folders: dict[str, int], tmp_path: Path) -> None:
    tree = scan(plant(tmp_path, folders))
    assert tree.classes == tuple(sorted({folder.split("/")[0] for folder in folders}))


@pytest.mark.parametrize(
    ("folders", "ignored"),
    [
        ({**pets("train"), "test": 4}, "4 in test, which has no class folders"),
        ({**pets("train"), "test/test": 4}, "4 in test, which has no class folders"),
        ({**pets("train"), "test1": 4}, "4 in test1, which has no class folders"),
        (
            {**pets("training_set"), "test_images": 4},
            "4 in test_images, which has no class folders",
        ),
        (
            {**pets("seg_train/seg_train", "seg_test/seg_test"), "seg_pred/seg_pred": 4},
            "4 in seg_pred, which is no split",
        ),
        (
            {"cat": 3, "dog": 3, "test": 4},
            "4 in test, which has no class folders; rename it if it is a class",
        ),
    ],
)
def test_images_without_a_class_are_not_used_and_named(
    folders: dict[str, int], ignored: str, tmp_path: Path
) -> None:
    root = plant(tmp_path, folders)
    dataset = load_dataset(str(root), image_size=4)
    assert dataset.classes == ("cat", "dog")
    assert f"files that are not used: {ignored}" in dataset.notes
    assert not any("test" in Path(name).relative_to(root).parts[:1] for name in dataset.test.names)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            {"train/steam": 3, "train/diesel": 3, "car": 3, "bus": 3},
            "train was understood as the training images of diesel, steam, but there are images in "
            "bus, car beside it: move these away, or rename train if it is a class",
        ),
        (
            pets("seg_train", "seg_test", "extra"),
            "seg_train was understood as the training images of cat, dog, but there are images in "
            "extra beside it",
        ),
        (pets("train", "Training"), "Training and .*train both say that they hold the train im"),
        (pets("val", "valid", "train"), "val and .*valid both say that they hold the val images"),
        (
            {"cat": 3, "dog": 3, **pets("pets")},
            "pets has folders of the same names as those beside it, cat, dog: which ones are the",
        ),
        (
            {"cat": 3, "dog": 3, **pets("train")},
            "train was understood as the training images of cat, dog, but there are images in cat",
        ),
        (
            pets("train/images", "test/images"),
            "only class 'images' in .*; folders below a class folder mean nothing: test/images/cat",
        ),
        (
            {"cat/train": 3, "cat/test": 3, "dog": 3},
            "cat has folders for splits inside, but not every folder beside it has",
        ),
        (
            {**pets("train"), "test/Cat": 1},
            r"class 'Cat' has test images but no .* \(test/Cat/0\.png\): .*; is it 'cat'\?",
        ),
    ],
)
def test_what_can_be_understood_in_two_ways_is_refused(
    folders: dict[str, int], message: str, tmp_path: Path
) -> None:
    with pytest.raises(MaamError, match=message) as caught:
        scan(plant(tmp_path, folders))
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_classes_that_a_split_lacks_are_matched_by_name(tmp_path: Path) -> None:
    folders = {"train/a": 2, "train/b": 2, "train/c": 2, "val/c": 1, "test/b": 1, "test/c": 1}
    dataset = load_dataset(str(plant(tmp_path, folders)), image_size=4)
    assert dataset.classes == ("a", "b", "c")
    assert dataset.val.labels.tolist() == [2]
    assert dataset.test.labels.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("folders", "empty"),
    [
        ({"cat": 3, "dog": 3, "bird": 0}, "bird"),
        ({"cat": 3, "dog": 0}, "dog"),
        ({"cat": 3, "dog": 3, "bird/young": 0}, "bird"),
        ({"pets/cat": 3, "pets/dog": 3, "pets/bird": 0}, "pets/bird"),
        ({**pets("train"), "train/bird": 0}, "train/bird"),
        ({**pets("seg_train/seg_train", "seg_test"), "seg_train/seg_train/bird": 0}, "bird"),
        ({**pets("train"), "val": 0}, "val"),
        ({"cat": 3, "dog": 3, "Test": 0}, "Test"),
        ({"cat/train": 3, "dog/train": 3, "bird": 0}, "bird"),
    ],
)
def test_an_empty_folder_stops_a_training(
    folders: dict[str, int], empty: str, tmp_path: Path
) -> None:
    root = plant(tmp_path, folders)
    message = rf"^no images in {root}/(.*/)?{empty} \(no files\): put images in, or delete it$"
    with pytest.raises(MaamError, match=message):
        load_dataset(str(root), image_size=4)


def test_an_empty_folder_says_what_is_in_it(tmp_path: Path) -> None:
    root = plant(tmp_path, {"cat": 3, "dog": 3, "bird": 0, "cow": 0})
    for name in ("1.psd", "2.psd", "list.txt"):
        (root / "bird" / name).write_bytes(b"x")
    with pytest.raises(MaamError, match=r"bird \(2 \.psd, 1 \.txt\): .* \(2 such folders\)$"):
        load_dataset(str(root), image_size=4)


def test_an_empty_class_folder_of_another_split_is_fine(tmp_path: Path) -> None:
    root = plant(tmp_path, {**pets("train"), "val/cat": 1, "val/dog": 0})
    assert load_dataset(str(root), image_size=4).val.labels.tolist() == [0]
