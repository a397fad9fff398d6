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
from maam.data.files.tree import ImageFile, Tree
from maam.data.fingerprints import fingerprint
from maam.data.packing import Encoded, _Writer  # pyright: ignore[reportPrivateUsage]
from maam.data.sources.packed import load
from maam.deploy.latency import peak_mib
from maam.training.events import Step

SIDE, CLASSES = 224, 1000


def many_images(folder: Path, number: int) -> Counts:
    """A pack of so many images of 8x8 pixels, opened, shuffled and read in part."""
    rng = np.random.default_rng(0)
    some = [rng.integers(0, 256, (8, 8, 3)).astype(np.uint8) for _ in range(256)]
    _write(folder / "pack", some, number, 100)
    counts = in_a_process("many images", _read_many, folder / "pack")
    if counts.cases != number:
        counts.fail("images are missing", str(counts.cases))
    return counts


def _write(pack: Path, some: list[np.ndarray], number: int, classes: int) -> None:
    """A pack of the same few pictures, each with its number in its first bytes."""
    files = tuple(
        ImageFile(f"images/{n % classes:04}/{n:07}.png", "", "train", f"{n % classes:04}")
        for n in range(number)
    )
    make_folder(pack)
    writer = _Writer(pack, Tree(Path("images"), files, {}), len(some[0]))
    for n, file in enumerate(files):
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
        counts.cases = len(dataset.train) + len(dataset.val) + len(dataset.test)
        unit = Preprocessing((8, 8), 3, (0.0,) * 3, (1.0,) * 3)
        labels = torch.from_numpy(dataset.train.labels).long()
        began, seen = time.monotonic(), 0
        what: Any = dataset.train, labels, unit, 256, Augmentation(), (0, 0)
        curve = counts.curves["8x8 pixels"] = [(0, resident_mib())]
        for number, (images, _) in enumerate(train_batches(*what), 1):
            seen += len(images)
            if number % 25 == 0:
                curve.append((seen, resident_mib()))
            if number == 1000:
                break
        counts.measure("images/s", seen / (time.monotonic() - began))
        counts.measure("MiB more than before", peak_mib() - before)
        counts.fine = counts.cases
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
            if event.step % 10 == 9 or not event.step:
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
