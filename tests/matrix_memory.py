"""More images than memory holds: packs of very many and of large images, opened and trained on."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from matrix import Counts, counting
from matrix_images import in_a_process
from PIL import Image

from maam.core.files import make_folder
from maam.data.files.tree import ImageFile, Tree, scan
from maam.data.fingerprints import fingerprint
from maam.data.packing import Encoded, _Writer  # pyright: ignore[reportPrivateUsage]
from maam.data.sources.packed import load
from maam.deploy.latency import peak_mib
from maam.training.events import Step

SIDE, CLASSES = 224, 1000
BATCH, STEPS = 256, 20  # small images


def many_images(folder: Path, number: int) -> Counts:
    """A pack of so many images of 8x8 pixels, opened and shuffled: each comes once an epoch, and
    faster than a network is trained on them."""
    rng = np.random.default_rng(0)
    some = [rng.integers(0, 256, (8, 8, 3)).astype(np.uint8) for _ in range(256)]
    _write(folder / "pack", some, number, 100)
    counts = in_a_process("many images", _read_many, folder / "pack")
    if counts.cases != number:
        counts.fail("images are missing", str(counts.cases))
    trained = in_a_process("training", _train_small)
    counts.measure("images/s in training", trained.measured["images/s"])
    if counts.measured["images/s in training"] > counts.measured["images/s"]:
        counts.fail("slower than training")
    return counts


def _train_small() -> Counts:
    """How fast a small network is trained on images of 8x8 pixels that lie in memory."""
    import torch

    import maam.torch
    from maam.core.config import TrainConfig
    from maam.torch.step import make_optimizer, make_train_step

    config = TrainConfig(model="maamnet-nano", batch_size=BATCH)
    net = maam.torch.create_model("maamnet-nano", 100, 3, (8, 8)).train()
    step = make_train_step(net, make_optimizer(net, config), config)
    images, labels = torch.rand(BATCH, 3, 8, 8), torch.arange(BATCH) % 100
    with counting("training") as counts:
        step(images, labels, 0.1)
        began = time.monotonic()
        for _ in range(STEPS):
            step(images, labels, 0.1)
        counts.measure("images/s", STEPS * BATCH / (time.monotonic() - began))
    return counts


def _write(pack: Path, some: list[np.ndarray], number: int, classes: int) -> None:
    """A pack of the same few pictures, each with its number in its first bytes; a hundredth of them
    are test images."""
    tests = number // 100
    files = tuple(
        ImageFile(f"images/{n:07}.png", "", split, f"{n % classes:04}")
        for split, numbers in (("train", range(tests, number)), ("test", range(tests)))
        for n in numbers
    )
    make_folder(pack)
    writer = _Writer(pack, Tree(Path("images"), files, {}), len(some[0]))
    for file in files:
        n = int(file.name[-11:-4])
        pixels = some[n % len(some)].copy()
        pixels.reshape(-1)[:4] = np.frombuffer(n.to_bytes(4, "little"), np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
        writer.add(file, Encoded(stream.getvalue(), fingerprint(pixels)))
    writer.finish(pack)


def _read_many(pack: Path) -> Counts:
    import torch

    from maam.data.augment import Augmentation
    from maam.data.preprocessing import Preprocessing
    from maam.torch.loader import train_batches

    before = peak_mib()
    with counting("many images") as counts:
        began = time.monotonic()
        dataset = load(pack, None, 0.0, 0)
        counts.measure("seconds to open", time.monotonic() - began)
        images = len(dataset.train)
        counts.cases = images + len(dataset.test)
        unit = Preprocessing((8, 8), 3, (0.0,) * 3, (1.0,) * 3)
        labels = torch.from_numpy(dataset.train.labels).long()
        began, seen = time.monotonic(), np.zeros(counts.cases, np.uint8)
        what: Any = dataset.train, labels, unit, BATCH, Augmentation(), (0, 0)
        curve = counts.curves["8x8 pixels"] = [(0, resident_mib())]
        for number, (batch, _) in enumerate(train_batches(*what), 1):
            first = batch.permute(0, 2, 3, 1).flatten(1)[:, :4].mul(255).round().byte()
            np.add.at(seen, _numbers(first.numpy()), 1)
            if number % max(1, images // BATCH // 40) == 0:
                curve.append((number * BATCH, resident_mib()))
        counts.measure("images/s", images / (time.monotonic() - began))
        counts.measure("MiB more than before", peak_mib() - before)
        refilled = -images % BATCH  # the last batch, by some of the first images
        if seen.sum() != images + refilled or seen.max() > 2:
            counts.fail("images came twice", str(seen.sum()))
        np.add.at(seen, _numbers(dataset.test.pixels().reshape(-1, 8 * 8 * 3)[:, :4]), 1)
        counts.fine = int((seen > 0).sum())
    return counts


def _numbers(first: np.ndarray) -> np.ndarray:
    """The numbers of images by their first four bytes, uint8 (N, 4)."""
    return np.ascontiguousarray(first).view("<u4").ravel()


def many_files(folder: Path, number: int) -> Counts:
    """A folder of so many image files, listed."""
    folder.mkdir(exist_ok=True)
    return in_a_process("many files", _list_many, folder, number)


def _list_many(folder: Path, number: int) -> Counts:
    some = []
    for n in range(256):
        some.append(folder / f"{n}.png")
        Image.new("RGB", (8, 8), (n, 0, 0)).save(some[-1])
    for label in range(100):
        (folder / "images" / f"{label:03}").mkdir(parents=True)
    for n in range(number):
        os.link(some[n % 256], folder / "images" / f"{n % 100:03}" / f"{n:07}.png")
    before = peak_mib()
    with counting("many files") as counts:
        tree = scan(folder / "images")
        counts.cases = number
        counts.fine = len({file.name for file in tree.files})
        if len(tree.classes) != 100 or counts.fine != number:
            counts.fail("files are missing", f"{counts.fine} of {len(tree.classes)} classes")
        counts.measure("MiB more than before", peak_mib() - before)
    return counts


def large_images(folder: Path, images: int, steps: int = 200) -> Counts:
    """Trainings of some hundred steps in both frameworks on images of 224x224 pixels of a thousand
    classes, which take more than the machine's memory if there are enough of them."""
    rng, some = np.random.default_rng(0), []
    for _ in range(1000):
        soft = Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8))
        some.append(np.array(soft.resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
    _write(folder / "pack", some, images, CLASSES)
    with counting("large images") as counts:
        counts.measure("MiB of decoded images", images * SIDE * SIDE * 3 / 2**20)
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        counts.measure("MiB of the machine's memory", memory / 2**20)
        for framework in ("mindspore", "torch"):
            one = in_a_process("", _train_large, folder, framework, steps)
            counts.cases, counts.fine = counts.cases + one.cases, counts.fine + one.fine
            counts.failures += one.failures
            counts.examples += one.examples
            counts.measured |= one.measured
            counts.curves |= one.curves
    return counts


class _Enough(BaseException):
    """So many steps are done."""


def _train_large(folder: Path, framework: str, steps: int) -> Counts:
    import maam

    speeds: list[float] = []
    curve: list[tuple[float, float]] = []

    def watch(event: object) -> None:
        if isinstance(event, Step):
            speeds.append(event.images_per_second)
            curve.append((options["batch_size"] * (event.step + 1), resident_mib()))
            if event.step + 1 >= steps:
                raise _Enough

    options: dict[str, Any] = {"model": "maamnet-nano", "epochs": 1, "batch_size": 32}
    with counting("large images") as counts:
        counts.cases = 1
        data, out = str(folder / "pack"), folder / f"run-{framework}"
        try:
            maam.train(data=data, out=out, watch=watch, framework=framework, **options)
            counts.fail("it ended", "too few images")
        except _Enough:
            counts.fine = 1
        counts.measure(f"MiB in {framework}", peak_mib())
        counts.measure(f"images/s in {framework}", speeds[-1])
        counts.curves[f"224x224 pixels, {framework}"] = curve
    return counts


def resident_mib() -> float:
    """What this process holds in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
