"""Packs: shards that hold the same images, and are streamed."""

import gc
import io
import os
import resource
import tarfile
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_pack import make_pack, whole

import maam
from maam.cli.app import run
from maam.core.errors import MaamError
from maam.data import load_dataset, packing
from maam.data.augment import Augmentation
from maam.data.files.packs import MOST_OPEN
from maam.data.fingerprints import fingerprint, fingerprints
from maam.data.preprocessing import Preprocessing
from maam.data.sources.packed import GROUP, PackedSplit, shuffled

TRAIN: dict[str, Any] = {
    "model": "maamnet-nano",
    "epochs": 1,
    "framework": "torch",
    "augment": "none",
}
QUICK: dict[str, Any] = {"normalize": "standard", "batch_size": 16}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """36 images of three classes, of different sizes; one of them is there twice."""
    root, rng = tmp_path_factory.mktemp("data") / "photos", np.random.default_rng(0)
    for number in range(36):
        shape = (20 + number % 5, 24, 3)
        shade = 60 * (number % 3) + rng.integers(0, 60, shape)
        folder = root / "abc"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shade.astype(np.uint8)).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def pack(photos):
    folder = photos.parent / "packed"
    maam.pack(photos, folder, image_size=16)
    return folder


def test_a_pack_holds_the_images_of_the_folder_split_alike(photos, pack):
    plain, packed = (
        load_dataset(str(path), None, size) for path, size in ((photos, 16), (pack, None))
    )
    assert packed.classes == plain.classes and packed.image_shape == (16, 16, 3)
    for name in ("train", "val", "test"):
        split, expected = getattr(packed, name), getattr(plain, name)
        assert isinstance(split, PackedSplit) and tuple(split.names) == tuple(expected.names)
        np.testing.assert_array_equal(split.labels, expected.labels)
        np.testing.assert_array_equal(split.pixels(), expected.pixels())
        np.testing.assert_array_equal(fingerprints(split), fingerprints(expected))
    seeds = [load_dataset(str(path), None, 16, 0.3, 7).val.names for path in (photos, pack)]
    assert tuple(seeds[0]) == tuple(seeds[1])


def test_the_shards_are_webdatasets(pack):
    members: dict[str, bytes] = {}
    with tarfile.open(pack / "train-00000.tar") as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            members[member.name] = content.read()
    assert len(members) == 72
    for stem in {name.partition(".")[0] for name in members}:
        assert Image.open(io.BytesIO(members[f"{stem}.png"])).size == (16, 16)
        assert members[f"{stem}.cls"] in (b"0", b"1", b"2")


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the library leaves them open
def test_the_webdataset_library_reads_every_image_and_label(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    split = whole(make_pack(tmp_path, 3, 32))
    files = [str(file) for file in split.pack.files]
    assert len(files) == 6
    data = webdataset.WebDataset(files, shardshuffle=False).decode("rgb8").to_tuple("png", "cls")
    read = sorted((fingerprint(image), label) for image, label in data)
    gc.collect()
    assert read == sorted(zip(split.fingerprints.tolist(), split.labels.tolist(), strict=True))


def test_an_image_that_is_there_twice_is_packed_once(photos, tmp_path, capsys):
    root = tmp_path / "photos"
    for number, label in enumerate("aaabbb"):
        folder = root / label
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (0, 0, 40 * (number % 3))).save(folder / f"{number}.png")
    Image.new("RGB", (9, 9), (0, 0, 0)).save(root / "a" / "again.png")
    (root / "b" / "damaged.png").write_bytes(b"no image")
    out = tmp_path / "packed"
    assert run(["data", "pack", str(root), str(out), "--image-size", "8"]) == 1
    text = capsys.readouterr().out
    assert "train 6; 1 repeated ones left out; 8x8" in text.replace("\n", " ")
    assert "damaged.png: not a" in text.replace("\n", "")
    assert len(load_dataset(str(out), val_fraction=0).skipped) == 1


def test_a_training_on_a_pack_is_one_on_the_folder(photos, pack, tmp_path):
    for data in (photos, pack):
        out = tmp_path / ("folder" if data == photos else "pack")
        side = 16 if data == photos else None
        result = maam.train(data=str(data), image_size=side, out=out, **TRAIN)
        assert result.scores["images"] == 7
    # The pack is the folder's images: none of them is new to the run.
    assert maam.evaluate(tmp_path / "folder", data=str(pack))["images"] == 7
    assert maam.evaluate(tmp_path / "pack")["images"] == 7
    assert maam.evaluate(tmp_path / "pack", split="all")["images"] == 36


@pytest.mark.parametrize("framework", ["mindspore", "torch"])
def test_an_epoch_has_every_image_once(pack, framework):
    dataset = load_dataset(str(pack), val_fraction=0)
    preprocessing = Preprocessing.fit(dataset.train, "unit")
    assert isinstance(dataset.train, PackedSplit)
    if framework == "mindspore":
        from maam.mindspore.loader import train_batches

        batches = train_batches(dataset.train, preprocessing, 10, Augmentation(), (0, 0))
        seen = np.concatenate([images.asnumpy() for images, _ in batches])
    else:
        import torch

        from maam.torch.loader import train_batches as torch_batches

        labels = torch.from_numpy(dataset.train.labels).long()
        what = dataset.train, labels, preprocessing, 10, Augmentation(), (0, 0)
        seen = np.concatenate([images.numpy() for images, _ in torch_batches(*what)])
    expected = preprocessing(dataset.train.pixels())
    assert len(seen) == -(-len(expected) // 10) * 10  # the first ones fill the last batch up
    sums = [each.sum((1, 2, 3)) for each in (seen[: len(expected)], expected)]
    np.testing.assert_allclose(np.sort(sums[0]), np.sort(sums[1]), rtol=1e-5)
    assert not np.allclose(*sums)


def test_a_folder_that_memory_does_not_hold_is_packed_and_streamed(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("MAAM_CACHE", str(tmp_path / "cache"))
    whole = load_dataset(str(photos), None, 16)
    monkeypatch.setenv("MAAM_MEMORY", "10k")
    streamed = load_dataset(str(photos), None, 16)
    assert isinstance(streamed.train, PackedSplit) and streamed.source == whole.source
    np.testing.assert_array_equal(streamed.test.pixels(), whole.test.pixels())
    made = sorted((tmp_path / "cache" / "packs").iterdir())
    assert [file.suffix for file in made] == ["", ".lock"]
    load_dataset(str(photos), None, 16)
    assert made == sorted((tmp_path / "cache" / "packs").iterdir())
    result = maam.train(data=str(photos), image_size=16, out=tmp_path / "run", **TRAIN)
    monkeypatch.delenv("MAAM_MEMORY")  # where memory is larger, it is still the same data
    assert maam.evaluate(result.run)["images"] == 7
    assert len(maam.train(resume=result.run, epochs=2).history) == 2
    monkeypatch.setenv("MAAM_MEMORY", "lots")
    with pytest.raises(MaamError, match="`MAAM_MEMORY=lots` is no size"):
        load_dataset(str(photos), None, 16)


def test_an_order_reads_few_shards_at_a_time():
    shards = np.repeat(np.arange(12), 50)
    order = shuffled(shards, np.random.default_rng(0))
    assert sorted(order) == list(range(600))
    groups = shards[order].reshape(-1, 50 * GROUP)
    assert all(len(set(group)) == GROUP for group in groups)
    assert (order[:-1] + 1 != order[1:]).mean() > 0.9
    again = shuffled(shards, np.random.default_rng(0))
    np.testing.assert_array_equal(order, again)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "train-00000.tar").unlink(), "train-00000.tar is missing"),
        (lambda folder: (folder / "train-00000.tar").write_bytes(b"x"), "has 1 bytes: copy"),
        (lambda folder: (folder / "index.safetensors").write_bytes(b"x"), "is damaged or not"),
    ],
)
def test_a_damaged_pack_is_one_line(photos, tmp_path, damage, message):
    maam.pack(photos, tmp_path / "packed", image_size=8)
    damage(tmp_path / "packed")
    with pytest.raises(MaamError, match=message):
        load_dataset(str(tmp_path / "packed"))


def test_a_damaged_image_names_its_shard(photos, tmp_path):
    maam.pack(photos, tmp_path / "packed", image_size=8)
    shard = tmp_path / "packed" / "train-00000.tar"
    content = bytearray(shard.read_bytes())
    content[512:600] = bytes(88)
    shard.write_bytes(content)
    dataset = load_dataset(str(tmp_path / "packed"))
    with pytest.raises(
        MaamError,
        match=r"train-00000\.tar: an image in it is damaged; delete .* and pack the images anew",
    ):
        for split in (dataset.train, dataset.val, dataset.test):
            split.pixels()


def test_bad_input_is_one_line_and_leaves_nothing(photos, pack, tmp_path, capsys):
    for arguments, message in (
        ([str(photos), str(pack)], "is there already"),
        ([str(pack), str(tmp_path / "x")], "is a pack"),
        ([str(tmp_path / "none"), str(tmp_path / "x")], "no such folder"),
        ([str(photos), str(tmp_path / "x"), "--image-size", "4"], "--image-size 4"),
        ([str(photos), "/dev/null/x"], "/dev/null"),
    ):
        assert run(["data", "pack", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert run(["train", str(pack), "--image-size", "32"]) == 2
    assert "has images of 16 pixels" in capsys.readouterr().err


def test_a_pack_of_many_shards_keeps_few_files_open(tmp_path, monkeypatch):
    """Some systems let a process open no more than 256."""
    monkeypatch.setattr(packing, "SHARD_IMAGES", 1)
    for number in range(2 * MOST_OPEN):
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number:03}.png")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + MOST_OPEN + 30, before[1]))
    try:
        packed = maam.pack(tmp_path / "photos", tmp_path / "packed", image_size=8)
        dataset = load_dataset(str(packed.path))
        pixels = [dataset.all.pixels() for _ in range(2)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert packed.shards == 2 * MOST_OPEN
    assert sorted(pixels[0][:, 0, 0, 0].tolist()) == [*range(2 * MOST_OPEN)]
    np.testing.assert_array_equal(pixels[0], pixels[1])
