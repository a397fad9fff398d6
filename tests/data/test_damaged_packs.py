"""Packs in bad hands: damaged, exchanged, made by two processes at once, or not to the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import maam
from maam.cli.app import run
from maam.core.errors import MaamError
from maam.core.tensors import load_tensors, save_tensors
from maam.data import load_dataset
from maam.data.sources.packed import PackedSplit

TRAIN: dict[str, Any] = {
    "model": "mlp",
    "framework": "torch",
    "augment": "none",
    "image_size": 16,
}
STREAM = {"MAAM_MEMORY": "1k"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """44 images of two classes, every fourth of which is there twice."""
    root, rng = tmp_path_factory.mktemp("data") / "photos", np.random.default_rng(0)
    for number in range(36):
        shape = (20 + number % 5, 24, 3)
        image = Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8))
        folder = root / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{number}.png")
        if number % 4 == 0:
            image.save(folder / f"{number} again.png")
    return root


@pytest.fixture
def pack(photos: Path, tmp_path: Path) -> Path:
    return maam.pack(photos, tmp_path / "packed", image_size=16).path


@pytest.fixture
def streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache; memory holds no images."""
    monkeypatch.setenv("MAAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MAAM_MEMORY", STREAM["MAAM_MEMORY"])
    return tmp_path / "cache"


def every_pixel(data: Path) -> None:
    load_dataset(str(data)).all.pixels()


def test_a_changed_bit_is_never_another_image(pack: Path) -> None:
    shard, rng = pack / "train-00000.tar", np.random.default_rng(0)
    whole, pixels = shard.read_bytes(), load_dataset(str(pack)).all.pixels()
    with tarfile.open(shard) as tar:
        members = [each for each in tar if each.name.endswith(".png")]
    noticed = 0
    for _ in range(300):
        member, content = members[rng.integers(len(members))], bytearray(whole)
        content[member.offset_data + rng.integers(member.size)] ^= 1 << rng.integers(8)
        shard.write_bytes(content)
        try:
            same = np.array_equal(load_dataset(str(pack)).all.pixels(), pixels)
        except MaamError as error:
            noticed += "train-00000.tar: " in str(error)
        else:
            assert same  # a bit that means nothing
    assert noticed > 250


def test_shards_that_were_exchanged_are_noticed(photos: Path, tmp_path: Path) -> None:
    """Even where each has the size of the other, and their images have too."""
    root, packs = tmp_path / "photos", []
    for shade in (0, 1):
        for label in "ab":
            for number in range(4):
                folder = root / label
                folder.mkdir(parents=True, exist_ok=True)
                level = 100 * shade + 10 * number + (label == "b")
                Image.new("RGB", (8, 8), (level, 0, 0)).save(folder / f"{number}.png")
        packs.append(maam.pack(root, tmp_path / f"packed-{shade}", image_size=8).path)
        shutil.rmtree(root)
    shutil.copy(packs[0] / "train-00000.tar", packs[1] / "train-00000.tar")
    with pytest.raises(MaamError, match="it holds other images than were packed"):
        every_pixel(packs[1])


@pytest.mark.parametrize("framework", ["torch", "mindspore"])
def test_a_training_on_a_damaged_pack_ends_in_one_line(
    framework: str, pack: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shard = pack / "train-00000.tar"
    shard.write_bytes(bytes(shard.stat().st_size))
    options = ["--model", "mlp", "--epochs", "1", "--framework", framework]
    assert run(["train", str(pack), *options, "--out", str(tmp_path / "run")]) == 2
    error = capfd.readouterr().err
    assert "train-00000.tar: an image in it is damaged; delete" in error
    assert error.strip().count("\n") == 0


def changed(what: str, value: Callable[[Any], Any]) -> Callable[[dict, dict], None]:
    def change(rows: dict[str, Any], about: dict[str, Any]) -> None:
        place = rows if what in rows else about
        place[what] = value(place.get(what))

    return change


def test_a_pack_without_its_index_is_known_as_one(pack: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(pack, tmp_path / "pack")
    (tmp_path / "pack" / "index.safetensors").unlink()
    assert run(["train", str(tmp_path / "pack")]) == 2
    assert "is a pack without its index.safetensors: copy the whole" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        changed("label", lambda labels: labels + 1),
        changed("label", lambda labels: labels - 1),
        changed("label", lambda labels: labels[1:]),
        changed("label", lambda labels: labels.astype(np.float32)),
        changed("split", lambda splits: splits + 3),
        changed("shard", lambda shards: shards + 1),
        changed("offset", lambda offsets: -offsets),
        changed("name_end", lambda ends: ends[::-1].copy()),
        changed("names", lambda names: names[:-1]),
        changed("classes", lambda classes: classes[:1]),
        changed("classes", lambda classes: [1, 2]),
        changed("classes", lambda classes: None),
        changed("image_size", lambda side: "16"),
        changed("image_size", lambda side: 10**6),
        changed("shards", lambda shards: {f"../packed/{name}": n for name, n in shards.items()}),
        changed("skipped", lambda skipped: [["one"]]),
        changed("notes", lambda notes: "text"),
        changed("given", lambda given: ["elsewhere"]),
        changed("source", lambda source: 1),
    ],
)
def test_an_index_that_another_hand_wrote_is_refused(
    change: Callable[[dict, dict], None], pack: Path
) -> None:
    """With a checksum that fits."""
    rows, about = load_tensors(pack / "index.safetensors")
    change(rows, about)
    save_tensors(pack / "index.safetensors", rows, about)
    with pytest.raises(MaamError, match=r"index\.safetensors was not written by maam"):
        load_dataset(str(pack))


def test_a_streamed_folder_is_split_as_in_memory(
    photos: Path, streamed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that are there twice, and an archive in any order, too."""
    archive = tmp_path / "photos.tar"
    with tarfile.open(archive, "w") as tar:
        files = sorted(photos.rglob("*.png"), reverse=True)
        for file in [*files, files[0]]:  # one of them twice
            tar.add(file, file.relative_to(photos.parent))
    for data in (photos, archive):
        packed = load_dataset(str(data), None, 16)
        monkeypatch.delenv("MAAM_MEMORY")
        plain = load_dataset(str(data), None, 16)
        monkeypatch.setenv("MAAM_MEMORY", STREAM["MAAM_MEMORY"])
        assert len(plain.all) == 45
        for name in ("train", "val", "test"):
            split, expected = getattr(packed, name), getattr(plain, name)
            assert isinstance(split, PackedSplit) and tuple(split.names) == tuple(expected.names)
            np.testing.assert_array_equal(split.labels, expected.labels)
            np.testing.assert_array_equal(split.pixels(), expected.pixels())


def test_a_streamed_run_goes_on_streaming_and_is_scored_in_memory(
    photos: Path, streamed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that its images come in the order that they would have come in."""
    whole = maam.train(data=str(photos), epochs=2, out=tmp_path / "whole", **TRAIN)
    begun = maam.train(data=str(photos), epochs=1, out=tmp_path / "run", **TRAIN)
    monkeypatch.delenv("MAAM_MEMORY")
    maam.train(resume=begun.run, epochs=2)
    meta = maam.evaluate(begun.run)
    assert meta["images"] == whole.scores["images"] == 9
    digests = [(run / "meta.json").read_text().count("packed-") for run in (whole.run, begun.run)]
    assert digests == [3, 3]


def test_a_run_of_a_pack_goes_on_with_the_folder(tmp_path: Path, pack: Path) -> None:
    """Of the pack's size, in the pack's order."""
    root, rng = tmp_path / "photos", np.random.default_rng(0)
    for number in range(30):
        folder = root / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)).save(
            folder / f"{number}.png"
        )
    data = maam.pack(root, tmp_path / "other", image_size=16).path
    options = {**TRAIN, "image_size": None, "data": str(data)}
    begun = maam.train(**options, epochs=1, out=tmp_path / "run")
    whole = maam.train(**options, epochs=2, out=tmp_path / "whole")
    maam.train(resume=begun.run, epochs=1, data=str(root))
    again = maam.train(resume=begun.run, epochs=2)
    losses = [[row["train_loss"] for row in each.history] for each in (begun, again, whole)]
    assert losses[1][:1] == losses[0] and len(losses[1]) == len(losses[2]) == 2


def test_a_damaged_pack_in_the_cache_is_made_anew(photos: Path, streamed: Path) -> None:
    load_dataset(str(photos), None, 16)
    (shard,) = streamed.rglob("train-00000.tar")
    for damage in (shard.unlink, lambda: (shard.parent / "index.safetensors").write_bytes(b"x")):
        damage()
        assert len(load_dataset(str(photos), None, 16).all.pixels()) == 45


LOAD = """
import sys, numpy
from maam.data import load_dataset
dataset = load_dataset(sys.argv[1], None, 16)
print(type(dataset.train).__name__, int(dataset.all.pixels().sum()))
"""


def test_processes_that_need_the_same_pack_make_it_once(photos: Path, streamed: Path) -> None:
    environment = {**os.environ, "MAAM_CACHE": str(streamed), **STREAM}
    command = [sys.executable, "-c", LOAD, str(photos)]
    several = [
        subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment)
        for _ in range(4)
    ]
    said = [process.communicate(timeout=120) for process in several]
    assert {process.returncode for process in several} == {0}, said
    assert len(set(said)) == 1 and said[0][0].startswith("PackedSplit")
    assert len([each for each in (streamed / "packs").iterdir() if each.is_dir()]) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_pack_that_was_not_finished_is_none(number: signal.Signals, tmp_path: Path) -> None:
    root, out, rng = tmp_path / "photos", tmp_path / "packed", np.random.default_rng(0)
    for label in "ab":
        (root / label).mkdir(parents=True)
        big = Image.fromarray(rng.integers(0, 256, (600, 600, 3)).astype(np.uint8))
        big.save(root / label / "0.png", compress_level=1)
        for copy in range(1, 300):
            (root / label / f"{copy}.png").symlink_to(root / label / "0.png")
    command = [sys.executable, "-m", "maam", "data", "pack", str(root), str(out)]
    process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True)
    while not any(tmp_path.glob(".maam-*.tmp/*.tar")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert not out.exists() and "Traceback" not in errors
    left = list(tmp_path.glob(".maam-*"))
    assert len(left) == (number == signal.SIGKILL)
    shutil.rmtree(root / "b")
    (root / "b").mkdir()
    Image.new("RGB", (9, 9)).save(root / "b" / "0.png")
    maam.pack(root, out, image_size=8)
    assert {each.name for each in tmp_path.iterdir()} == {"photos", "packed"}


def test_a_pack_lies_outside_of_its_images(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(photos)
    for source, out in ((photos, photos / "packed"), (tmp_path / "link", photos / "x" / "y")):
        with pytest.raises(MaamError, match="lies among the images"):
            maam.pack(source, out)
    assert sorted(each.name for each in photos.iterdir()) == ["a", "b"]


def test_a_pack_that_fails_leaves_no_folders_and_takes_any_name(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for label in "ab":
        (root / label).mkdir(parents=True)
        (root / label / "damaged.png").write_bytes(b"no image")
    with pytest.raises(MaamError, match="no image in"):
        maam.pack(root, tmp_path / "x" / "y" / "packed")
    assert [each.name for each in tmp_path.iterdir()] == ["photos"]
    for label in "ab":
        Image.new("RGB", (9, 9)).save(root / label / "damaged.png")
    assert len(load_dataset(str(maam.pack(root, tmp_path / ("n" * 255)).path)).all) == 2
    with pytest.raises(MaamError, match="File name too long"):
        maam.pack(root, tmp_path / ("n" * 256))
