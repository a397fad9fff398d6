"""Scoring a finished run: on its own images wherever they lie, and on others it has not seen."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import maam
from maam import MaamError
from maam.cli.app import run as cli
from maam.core.run_folder import RunFolder
from maam.training.events import Event, Note
from maam.training.transfer import SEEN

CLASSES = ("ant", "bee", "cat")
OPTIONS = {"model": "cnn", "image_size": 8, "epochs": 2, "framework": "torch", "seed": 1}


def paint(path: Path, label: str, seed: int) -> None:
    """A noisy picture in which one colour is a little stronger: hard, but not hopeless."""
    pixels = np.random.default_rng(seed).integers(0, 200, (9, 9, 3))
    pixels[..., CLASSES.index(label)] += 20
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def plant(root: Path, count: int, first: int = 0, classes: tuple[str, ...] = CLASSES) -> Path:
    for label in classes:
        for number in range(count):
            seed = first + 1000 * CLASSES.index(label) + number
            paint(root / label / f"{first + number:03}.png", label, seed)
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return plant(tmp_path_factory.mktemp("data") / "photos", 20)


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory) -> Path:
    """60 images: 43 or so to train on, 5 to validate with, 12 to test."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return maam.train(data=str(photos), **OPTIONS, out=folder).run


@pytest.fixture(scope="module")
def own(trained):
    return maam.evaluate(trained)


def copied(photos: Path, to: Path) -> Path:
    return Path(shutil.copytree(photos, to))


def zipped(photos: Path, to: Path) -> Path:
    return Path(shutil.make_archive(str(to), "zip", photos.parent, photos.name))


def linked(photos: Path, to: Path) -> Path:
    to.symlink_to(photos)
    return to


@pytest.mark.parametrize("move", [copied, zipped, linked])
def test_the_runs_own_images_elsewhere_are_its_own(move, photos, trained, own, tmp_path):
    data = str(move(photos, tmp_path / "v2"))
    again = maam.evaluate(trained, data=data)
    assert (again["images"], again["split"], again["seen"], again["left_out"]) == (12, "test", 0, 0)
    assert again["accuracy"] == own["accuracy"]
    assert again["confusion"] == own["confusion"]
    assert maam.evaluate(trained, data=data, split="val")["images"] == 5
    every = maam.evaluate(trained, data=data, split="all")
    assert (every["images"], every["seen"], every["left_out"]) == (60, 48, 0)


@pytest.mark.parametrize("move", [copied, zipped])
def test_of_other_data_only_images_that_were_never_seen_are_scored(
    move, photos, trained, own, tmp_path, capsys
):
    more = copied(photos, tmp_path / "more")
    paint(more / "cat" / "another.png", "cat", 99)
    data = str(more if move is copied else move(more, tmp_path / "v2"))
    for split in ("test", "all"):
        scores = maam.evaluate(trained, data=data, split=split)
        assert (scores["seen"], scores["left_out"], scores["images"]) == (48, 48, 13)
        assert scores["split"] == "all"
        # The 12 test images, and one more.
        right = scores["accuracy"] * 13 - own["accuracy"] * 12
        assert right == pytest.approx(round(right)) and round(right) in (0, 1)
    assert cli(["evaluate", str(trained), "--data", data]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "48 of 61 images were trained on or validated with and are left out" in said


def test_renamed_and_moved_images_are_known_by_their_pixels(photos, trained, tmp_path):
    for number, path in enumerate(sorted(photos.glob("*/*.png"))):
        target = tmp_path / "v2" / "test" / path.parent.name / f"renamed {number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    scores = maam.evaluate(trained, data=str(tmp_path / "v2"))
    assert (scores["split"], scores["left_out"], scores["images"]) == ("test", 48, 12)


def test_nothing_but_seen_images_is_refused(photos, trained, tmp_path):
    plant(tmp_path / "seen", 20)
    recorded = RunFolder(trained).read_images()
    assert {name: len(numbers) for name, numbers in recorded.items()} == {"train": 43, "val": 5}
    test = maam.data.load_dataset(str(photos), image_size=8, seed=1).test.names
    for name in test:
        (tmp_path / "seen" / Path(name).relative_to(photos)).unlink()
    with pytest.raises(MaamError, match="learned from all of these 48 images: name some"):
        maam.evaluate(trained, data=str(tmp_path / "seen"), split="all")


def test_changed_data_is_refused_but_its_new_images_can_be_scored(tmp_path):
    photos = plant(tmp_path / "photos", 12)
    run = maam.train(data=str(photos), **OPTIONS, out=tmp_path / "run").run
    held = maam.evaluate(run)["images"]
    paint(photos / "ant" / "another.png", "ant", 99)
    for options in ({}, {"data": str(photos)}, {"split": "val"}):
        with pytest.raises(MaamError, match=r"the images of .*photos are not those .*`split=all`"):
            maam.evaluate(run, **options)
    assert maam.evaluate(run, split="all")["images"] == held + 1


def test_a_run_without_a_record_scores_what_it_is_given(photos, trained, tmp_path):
    old = Path(shutil.copytree(trained, tmp_path / "old"))
    RunFolder(old).images.unlink()
    data = copied(photos, tmp_path / "v2")
    assert maam.evaluate(old, data=str(data))["images"] == 12
    paint(data / "cat" / "another.png", "cat", 99)
    scores = maam.evaluate(old, data=str(data), split="all")
    assert (scores["images"], scores["seen"], scores["left_out"]) == (61, None, 0)


def test_a_student_has_seen_what_its_teacher_has(trained, photos, tmp_path):
    other = plant(tmp_path / "other", 8, first=100)
    options = {**OPTIONS, "epochs": 1, "teacher": str(trained), "out": tmp_path / "student"}
    student = maam.train(data=str(other), **options).run
    scores = maam.evaluate(student, data=str(photos))
    assert (scores["seen"], scores["images"]) == (48, 12)


@pytest.mark.parametrize(("seed", "told"), [(1, False), (2, True)])
def test_a_teacher_may_know_the_validation_images_of_a_copy(seed, told, trained, photos, tmp_path):
    """With the teacher's own seed the validation images are the same as its own."""
    data, seen = copied(photos, tmp_path / "copy"), []
    options = {**OPTIONS, "epochs": 1, "teacher": str(trained), "seed": seed}
    maam.train(data=str(data), **options, out=tmp_path / "student", watch=seen.append)
    assert told == (SEEN in [event.text for event in seen if isinstance(event, Note)])


# ------------------------------------------------------- folders that could not be trained on


def test_a_folder_with_only_a_test_split(trained, tmp_path):
    plant(tmp_path / "new" / "test", 2, first=50)
    for split in ("test", "all"):
        scores = maam.evaluate(trained, data=str(tmp_path / "new"), split=split)
        assert (scores["images"], scores["split"]) == (6, split)
    with pytest.raises(MaamError, match=r"`split=val`: .*new has no folder of that name"):
        maam.evaluate(trained, data=str(tmp_path / "new"), split="val")


def test_a_few_images_of_a_few_classes(trained, tmp_path, capsys):
    """Labels go by name: the second class alone is not the first one."""
    plant(tmp_path / "new", 1, first=50, classes=("bee",))
    scores = maam.evaluate(trained, data=str(tmp_path / "new"))
    assert (scores["images"], scores["split"]) == (1, "all")
    assert [row["images"] for row in scores["per_class"]] == [0, 1, 0]
    assert cli(["evaluate", str(trained), "--data", str(tmp_path / "new")]) == 0
    shown, counted = capsys.readouterr(), scores["macro_classes"]
    assert f"macro averages are of the {counted} of 3 classes seen here" in shown.out
    assert scores["notes"] == ["no images of 'ant', 'cat' to score: nothing is known of them"]
    assert scores["notes"][0] in shown.err


def test_what_is_not_used_reaches_the_person_as_in_a_training(trained, tmp_path, capsys):
    data = plant(tmp_path / "new", 2, first=50, classes=("ant", "bee"))
    (data / "cat").mkdir()
    (data / "ant" / "drawing.psd").write_bytes(b"x")
    (data / "ant" / "loop").symlink_to(data)
    shutil.copy(data / "ant" / "050.png", data / "loose.png")
    assert cli(["evaluate", str(trained), "--data", str(data), "--json", "scores.json"]) == 0
    shown = " ".join(capsys.readouterr().err.split())
    notes = json.loads(Path("scores.json").read_text())["notes"]
    for words in (
        "1 not an image (.psd)",
        "1 link to a folder that it lies in (ant/loop)",
        f"no images in {data / 'cat'} (no files)",
        "no images of 'cat' to score",
    ):
        assert words in shown
        assert any(words in note for note in notes), words


def test_a_run_on_grey_images_is_scored_on_a_folder(tmp_path):
    options = {"data": "digits", "model": "cnn", "limit": 50, "epochs": 1, "framework": "torch"}
    run = maam.train(**options, out=tmp_path / "run").run
    digits = maam.data.load_dataset("digits").test
    for number in range(12):
        path = tmp_path / "scans" / str(digits.labels[number]) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.pixels()[number, ..., 0]).save(path)
    scores = maam.evaluate(run, data=str(tmp_path / "scans"))
    assert (scores["images"], scores["seen"]) == (12, 0)


def test_class_folders_that_the_run_does_not_know(trained, tmp_path):
    plant(tmp_path / "new", 2, first=50)
    for name in ("zebra", "yak"):
        (tmp_path / "new" / "bee").rename(tmp_path / "new" / name)
        plant(tmp_path / "new", 2, first=50, classes=("bee",))
    with pytest.raises(MaamError, match="does not know: yak, zebra; the run has the classes ant,"):
        maam.evaluate(trained, data=str(tmp_path / "new"))


def test_images_are_fitted_to_the_network(tmp_path):
    """A run of grey 8x8 digits scores photos as it would predict them."""
    options = {"data": "digits", "limit": 64, "epochs": 1, "model": "mlp", "framework": "torch"}
    run = maam.train(**options, out=tmp_path / "run").run
    for label in "37":
        (tmp_path / "new" / label).mkdir(parents=True)
        Image.new("RGB", (31, 17), "red").save(tmp_path / "new" / label / "1.png")
    assert maam.evaluate(run, data=str(tmp_path / "new"))["images"] == 2


def test_no_class_folders_and_no_images(trained, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MaamError, match=r"no images in .*empty \(no files\)"):
        maam.evaluate(trained, data=str(tmp_path / "empty"))
    paint(tmp_path / "loose" / "1.png", "ant", 1)
    with pytest.raises(MaamError, match="no class folders"):
        maam.evaluate(trained, data=str(tmp_path / "loose"))
    (tmp_path / "broken" / "ant").mkdir(parents=True)
    (tmp_path / "broken" / "ant" / "1.png").write_bytes(b"no image")
    with pytest.raises(MaamError, match=r"no image in .*broken can be read, such as .*1\.png: not"):
        maam.evaluate(trained, data=str(tmp_path / "broken"))
    with pytest.raises(MaamError, match="no such folder or archive"):
        maam.evaluate(trained, data=str(tmp_path / "missing"))


def test_files_that_are_left_out_are_named_and_counted(trained, tmp_path, capsys):
    plant(tmp_path / "new", 2, first=50)
    for number in range(7):
        (tmp_path / "new" / "ant" / f"broken{number}.png").write_bytes(b"no image")
    (tmp_path / "new" / "ant" / "notes.txt").write_text("mine")
    command = ["evaluate", str(trained), "--data", str(tmp_path / "new"), "--json", "scores.json"]
    assert cli(command) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "broken4.png: not a JPEG" in said and "broken5.png" not in said
    assert "and 2 more files that can't be read" in said
    assert "1 not an image (.txt)" in said
    scores = json.loads(Path("scores.json").read_text())
    assert scores["images"] == 6
    assert len(scores["unreadable"]) == 7
    assert scores["unreadable"][0]["file"].endswith("broken0.png")
    assert scores["notes"] == ["files that are not used: 1 not an image (.txt)"]


def test_unreadable_images_of_the_runs_own_data_are_named(tmp_path):
    photos = plant(tmp_path / "photos", 8)
    (photos / "bee" / "broken.png").write_bytes(b"no image")
    (photos / "bee" / "notes.txt").write_text("mine")
    run = maam.train(data=str(photos), **OPTIONS, out=tmp_path / "run").run
    scores = maam.evaluate(run)
    assert [Path(row["file"]).name for row in scores["unreadable"]] == ["broken.png"]
    assert scores["notes"] == ["files that are not used: 1 not an image (.txt)"]


# ----------------------------------------------------------------------------- moved data


def test_a_run_goes_on_where_its_images_lie_now(tmp_path):
    photos = plant(tmp_path / "photos", 8)
    run = maam.train(data=str(photos), **OPTIONS, out=tmp_path / "run").run
    moved = photos.rename(tmp_path / "moved")
    with pytest.raises(MaamError, match="no such folder"):
        maam.train(resume=run, epochs=3)
    resumed = maam.train(resume=run, data=str(moved), epochs=3)
    assert len(resumed.history) == 3
    meta = RunFolder(run).read_meta()
    assert meta.data == meta.config["data"] == str(moved)
    assert maam.evaluate(run)["accuracy"] == resumed.scores["accuracy"]
    assert len(maam.train(resume=run, epochs=4).history) == 4


def test_a_run_does_not_go_on_with_other_images_or_names(tmp_path):
    photos = plant(tmp_path / "photos", 8)
    run = maam.train(data=str(photos), **OPTIONS, out=tmp_path / "run").run
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    other = plant(tmp_path / "other", 8, first=100)
    with pytest.raises(MaamError, match=r"the images of .*other are not those"):
        maam.train(resume=run, data=str(other), epochs=3)
    renamed = copied(photos, tmp_path / "renamed")
    (renamed / "ant").rename(renamed / "aardvark")
    with pytest.raises(MaamError, match=r"class folders of .*renamed have other names"):
        maam.train(resume=run, data=str(renamed), epochs=3)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_a_folder_that_memory_does_not_hold(photos, trained, own, tmp_path, monkeypatch):
    monkeypatch.setenv("MAAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MAAM_MEMORY", "1k")
    moved = copied(photos, tmp_path / "moved")
    assert maam.evaluate(trained, data=str(moved))["confusion"] == own["confusion"]
    other = plant(tmp_path / "other" / "test", 30, 500, ("bee", "cat")).parent
    (other / "test" / "bee" / "note.txt").write_text("no image")
    streamed = maam.evaluate(trained, data=str(other))
    monkeypatch.delenv("MAAM_MEMORY")
    assert streamed == maam.evaluate(trained, data=str(other)) and streamed["images"] == 60
    plant(tmp_path / "two", 30, 500, ("bee", "cat"))
    maam.pack(tmp_path / "two", tmp_path / "pack", image_size=8)
    packed = maam.evaluate(trained, data=str(tmp_path / "pack"))
    assert packed["confusion"] == streamed["confusion"]


def test_a_named_data_set_with_other_pixels_is_not_called_unseen(tmp_path):
    options = {**OPTIONS, "image_size": None, "limit": 100, "epochs": 1}
    run = RunFolder(maam.train(data="digits", **options, out=tmp_path / "run").run)
    meta = run.read_meta()
    other = dict.fromkeys(meta.data_digests, "0" * 64)  # the same pictures from another archive
    run.write_meta(replace(meta, data_digests=other))
    for split in ("test", "all"):
        with pytest.raises(MaamError, match=r"not those the run was trained on: bring them back$"):
            maam.evaluate(run.path, split=split)


def test_a_start_that_saw_another_size_is_told_of(trained, photos, tmp_path):
    told: list[Event] = []
    options: dict[str, Any] = {**OPTIONS, "epochs": 1, "weights": str(trained), "pretrained": True}
    maam.train(data=str(photos), **options, out=tmp_path / "same", watch=told.append)
    assert not [each for each in told if "can't be told" in str(each)]
    net: dict[str, Any] = {**OPTIONS, "model": "maamnet-8x1-16x1"}
    start = maam.train(data=str(photos), **net, out=tmp_path / "start").run
    options |= {"image_size": 16, "weights": str(start), "model": net["model"]}
    maam.train(data=str(photos), **options, out=tmp_path / "other", watch=told.append)
    line = f"{start} was trained on images of 8x8: whether it has learned"
    assert any(isinstance(each, Note) and each.text.startswith(line) for each in told)
