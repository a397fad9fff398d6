"""The MindSpore input pipeline: a ``GeneratorDataset`` of ready batches.

The paper's pipeline (section 4.2): shuffled, four workers, pad 4, random crop, horizontal flip at
50 %, pixels in [0, 1], CHW. An item of the generator is a whole batch, so the work is done by a
few NumPy calls; it depends only on seed, epoch and batch number, so any number of workers gives
the same batches.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from maam.core.errors import MaamError
from maam.data.augment import Augmentation, augment
from maam.data.augment.mixing import apply_mix, draw_mix, mix_labels
from maam.data.augment.resizing import resize
from maam.data.base import Split
from maam.data.preprocessing import Preprocessing
from maam.data.sources.packed import PackedSplit, shuffled


class _Batches:
    """Random access to the batches of one epoch."""

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        order: np.ndarray,
        batch_size: int,
        augmentation: Augmentation,
        key: tuple[int, ...],
        begin: int = 0,
    ) -> None:
        self.split, self.preprocessing = split, preprocessing
        self.augmentation, self.key = augmentation, key
        self.parts = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        self.begin = begin
        self.error: MaamError | None = None  # why there are no pixels

    def __len__(self) -> int:
        return len(self.parts) - self.begin

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        number = self.begin + index
        chosen = self.split.take(self.parts[number])
        try:
            pixels = chosen.pixels()
        except MaamError as error:
            self.error = error
            raise
        rng = np.random.default_rng((*self.key, number + 1))
        how = self.augmentation
        images = self.preprocessing(augment(pixels, how, rng))
        labels = chosen.labels.astype(np.int32)
        if how.mixes:
            mix = draw_mix(rng, how.mixup, how.cutmix, self.preprocessing.size)
            images, labels = apply_mix(images, mix), mix_labels(labels, mix, how.num_classes)
        return resize(images, how.size) if how.size else images, labels


def train_batches(
    split: Split,
    preprocessing: Preprocessing,
    batch_size: int,
    augmentation: Augmentation,
    key: tuple[int, ...],
    workers: int = 4,
    begin: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[tuple]:
    """Shuffled, augmented batches of one epoch; its first images fill the last batch up.

    Args:
        split: the training images.
        preprocessing: how pixels become numbers.
        batch_size: images in a batch, at most ``len(split)``; of all processes together, a
            multiple of ``world``.
        augmentation: how the images vary.
        key: (seed, epoch): the same key gives the same batches.
        workers: threads that prepare batches, clamped to the cores.
        begin: how many of the first batches are left out.
        rank, world: the process and how many there are. All have the same order, of each batch
            this one its part alone. Its augmentation is its own where there are several.

    Yields:
        (images, labels) tensors: float32 (batch_size / world, C, H, W), H and W those of
        ``augmentation.size`` if it has one, and int32 (batch_size / world,) or, where images are
        mixed, float32 (batch_size / world, num_classes).
    """
    rng = np.random.default_rng((*key, 0))
    packed = isinstance(split, PackedSplit)
    order = shuffled(split.shards, rng) if packed else rng.permutation(len(split))
    order = np.concatenate([order, order[: -len(order) % batch_size]])
    if world > 1:
        key = (*key, rank + 1)
        order = order.reshape(-1, world, batch_size // world)[:, rank].ravel()
        batch_size //= world
    batches = _Batches(split, preprocessing, order, batch_size, augmentation, key, begin)
    return _iterate(batches, workers) if len(batches) else iter(())


def eval_batches(
    split: Split, preprocessing: Preprocessing, batch_size: int, workers: int = 4
) -> Iterator[tuple]:
    """All images in order, not augmented, the last batch kept."""
    order, as_they_are = np.arange(len(split)), Augmentation()
    batches = _Batches(split, preprocessing, order, batch_size, as_they_are, (0, 0))
    return _iterate(batches, workers)


def _iterate(batches: _Batches, workers: int) -> Iterator[tuple]:
    from mindspore.dataset import GeneratorDataset

    dataset = GeneratorDataset(
        batches,
        ["image", "label"],
        shuffle=False,  # the batches come shuffled
        num_parallel_workers=min(workers, os.cpu_count() or 1, len(batches)),
        python_multiprocessing=False,
    )
    try:
        yield from dataset.create_tuple_iterator(num_epochs=1)
    except RuntimeError:  # in which MindSpore wraps what a batch raises
        if batches.error is not None:
            raise batches.error from None
        raise
