"""Ways to write images into shards and to read them again, for ``pack_formats``."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

import maam
from maam.core.environment import prepare_mindspore
from maam.data.files.packs import open_pack
from maam.data.sources.packed import PackedSplit, shuffled

SIDE, BATCH, CLASSES, SEED = 64, 256, 10, 0
BUFFER = 4096  # images in the shuffle buffer of `webdataset`: those of a shard
SHARDS = 5  # of MindRecord, as many as of the pack

Batches = Iterator[np.ndarray]  # uint8 (N, SIDE, SIDE, 3)


class Way(NamedTuple):
    """A way of reading.

    Attributes:
        images: how many there are.
        read: the batches of an epoch, from an image on: the ones before are not decoded.
        given: whether the order may be any that the caller names.
    """

    images: int
    read: Callable[[int], Batches]
    given: bool


def make_images(folder: Path, count: int) -> None:
    """PNG files of smooth colours under a little noise, all different, in folders by class."""
    rng = np.random.default_rng(SEED)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8))
        smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)
        noisy = (smooth + rng.normal(0, 3, smooth.shape)).clip(0, 255).astype(np.uint8)
        file = folder / f"class-{number % CLASSES}" / f"{number:06}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(file, compress_level=1)


def write_pack(images: Path, out: Path) -> None:
    maam.pack(images, out, image_size=SIDE)


def write_mindrecord(images: Path, out: Path) -> None:
    """Images decoded and compressed anew, as for a pack."""
    prepare_mindspore()
    from mindspore.mindrecord import FileWriter

    out.mkdir()
    writer = FileWriter(str(out / "train.mindrecord"), shard_num=SHARDS)
    writer.add_schema({"image": {"type": "bytes"}, "label": {"type": "int32"}}, "images")
    rows: list[dict[str, Any]] = []
    for file in sorted(images.rglob("*.png")):
        stream = io.BytesIO()
        Image.open(file).convert("RGB").save(stream, "PNG", compress_level=1)
        rows.append({"image": stream.getvalue(), "label": int(file.parent.name[-1])})
        if len(rows) == BATCH:
            writer.write_raw_data(rows)
            rows = []
    if rows:
        writer.write_raw_data(rows)
    writer.commit()


def pack_way(folder: Path) -> Way:
    """Our pack, in the order of our training."""
    pack = open_pack(folder)
    split = PackedSplit(pack, np.arange(len(pack.rows["label"])))
    order = shuffled(split.shards, np.random.default_rng(SEED))

    def read(begin: int) -> Batches:
        for start in range(begin, len(order), BATCH):
            yield split.take(order[start : start + BATCH]).pixels()

    return Way(len(order), read, True)


def webdataset_way(folder: Path) -> Way:
    """The shards of our pack, by the library: shards shuffled, and a buffer of images."""
    webdataset: Any = import_module("webdataset")
    files = [str(file) for file in sorted(folder.glob("*.tar"))]

    def read(begin: int) -> Batches:
        data = webdataset.WebDataset(files, shardshuffle=len(files), seed=SEED)
        data = data.shuffle(BUFFER, seed=SEED).slice(begin, None).decode("rgb8").to_tuple("png")
        return batched(image for (image,) in data)

    return Way(len(open_pack(folder).rows["label"]), read, False)


def mindrecord_way(folder: Path, given: bool) -> Way:
    """MindRecord, in an order of its own or a given one."""
    prepare_mindspore()
    from mindspore import dataset
    from mindspore.dataset import vision

    files = [str(folder / f"train.mindrecord{shard}") for shard in range(SHARDS)]
    one: dict[str, Any] = {"columns_list": ["image"], "num_parallel_workers": 1}
    images = dataset.MindDataset(files, **one).get_dataset_size()
    order = np.random.default_rng(SEED).permutation(images).tolist()

    def read(begin: int) -> Batches:
        dataset.config.set_seed(SEED)
        if given:
            some = dataset.SubsetSampler(order[begin:])
            data = dataset.MindDataset(files, sampler=some, **one)
            rows = data.create_tuple_iterator(num_epochs=1, output_numpy=True)
            yield from batched(decoded(content) for (content,) in rows)
            return
        data = dataset.MindDataset(files, shuffle=True, **one)
        data = data.skip(begin) if begin else data
        data = data.map(vision.Decode(), "image", num_parallel_workers=1)
        for (pixels,) in data.batch(BATCH).create_tuple_iterator(num_epochs=1, output_numpy=True):
            yield pixels

    return Way(images, read, given)


def decoded(content: np.ndarray) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content.tobytes())).convert("RGB"))


def batched(images: Iterator[np.ndarray]) -> Batches:
    """Images in batches of ``BATCH``, the last one as long as there are any."""
    some: list[np.ndarray] = []
    for image in images:
        some.append(image)
        if len(some) == BATCH:
            yield np.stack(some)
            some = []
    if some:
        yield np.stack(some)


def open_way(name: str, folder: Path) -> Way:
    if name.startswith("mindrecord"):
        return mindrecord_way(folder, name == "mindrecord-order")
    return {"pack": pack_way, "webdataset": webdataset_way}[name](folder)
