"""The input pipeline in PyTorch: all images lie on the device as uint8, and vary there; those of a
pack come there when they are needed.

The mirror of ``maam.mindspore.loader``: order and augmentation depend on seed and epoch alone, and
the random numbers are drawn on the CPU, so that every device sees the same batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from maam.data.augment import Augmentation
from maam.data.augment.mixing import draw_mix
from maam.data.preprocessing import Preprocessing
from maam.data.sources.packed import PackedSplit, shuffled
from maam.torch.augment import apply_mix, augment, resize

CHUNK = 2**23  # pixels augmented at a time: enough to keep a GPU busy, little enough for memory


def train_batches(
    images: Tensor | PackedSplit,
    labels: Tensor,
    preprocessing: Preprocessing,
    batch_size: int,
    augmentation: Augmentation,
    key: tuple[int, ...],
    begin: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled, augmented batches of one epoch; its first images fill the last batch up.

    Args:
        images: uint8 (M, H, W, C), on the device; or M images in a pack.
        labels: int64 (M,), on the device.
        preprocessing: how pixels become numbers.
        batch_size: images in a batch, at most M; of all processes together, a multiple of
            ``world``.
        augmentation: how the images vary.
        key: (seed, epoch): the same key gives the same batches.
        begin: how many of the first batches are left out.
        rank, world: the process and how many there are. All have the same order, of each batch
            this one its part alone. Its augmentation is its own where there are several.

    Yields:
        (images, labels): float32 (batch_size / world, C, H, W), channels last, H and W those of
        ``augmentation.size`` if it has one, and int64 (batch_size / world,) or, where images are
        mixed, float32 (batch_size / world, num_classes).
    """
    generator = torch.Generator()
    generator.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
    rng = np.random.default_rng(key)
    to_input = input_maker(preprocessing, labels.device)
    if isinstance(images, Tensor):
        order = torch.randperm(len(labels), generator=generator)
    else:
        order = torch.from_numpy(shuffled(images.shards, np.random.default_rng((*key, 0))))
    order = torch.cat([order, order[: -len(order) % batch_size]])
    if world > 1:
        key = (*key, rank + 1)
        generator.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        rng = np.random.default_rng(key)
        order = order.view(-1, world, batch_size // world)[:, rank].flatten()
        batch_size //= world
    height, width = preprocessing.size
    parts = order.split(max(1, CHUNK // (batch_size * height * width)) * batch_size)
    numbers = count()
    for part, some in _pixels(images, parts, labels.device, begin * batch_size):
        pixels = augment(some, augmentation, generator, rng)
        batches = zip(pixels.split(batch_size), labels[part].split(batch_size), strict=True)
        for chosen, answers in batches:
            mix = None
            if augmentation.mixes:
                mix = draw_mix(rng, augmentation.mixup, augmentation.cutmix, preprocessing.size)
            if next(numbers) < begin:
                continue
            inputs = to_input(chosen)
            if mix is not None:
                inputs = apply_mix(inputs, mix)
                shares = F.one_hot(answers, augmentation.num_classes).float()
                answers = torch.lerp(shares.roll(1, 0), shares, mix.share)
            if augmentation.size:
                inputs = resize(inputs, augmentation.size)
            yield inputs, answers


def _pixels(
    images: Tensor | PackedSplit, parts: Iterable[Tensor], device: torch.device, skipped: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Numbers of images and their pixels, on the device; of a pack, decoded one part ahead.

    The first ``skipped`` images of a pack are not decoded, where whole parts of them aren't needed.
    """
    if isinstance(images, Tensor):
        for part in parts:
            numbers = part.to(device)
            yield numbers, images[numbers]
        return
    with ThreadPoolExecutor(1) as ahead:

        def decode(part: Tensor, needed: bool) -> np.ndarray:
            if needed:
                return images.take(part.numpy()).pixels()
            return np.zeros((len(part), *images.image_shape), np.uint8)

        waiting: deque[tuple[Tensor, Future[np.ndarray]]] = deque()
        for part in parts:
            waiting.append((part, ahead.submit(decode, part, skipped < len(part))))
            skipped -= len(part)
            if len(waiting) > 1:
                yield _arrived(*waiting.popleft(), device)
        while waiting:
            yield _arrived(*waiting.popleft(), device)


def _arrived(
    part: Tensor, pixels: Future[np.ndarray], device: torch.device
) -> tuple[Tensor, Tensor]:
    return part.to(device), torch.from_numpy(pixels.result()).to(device)


def input_maker(preprocessing: Preprocessing, device: torch.device) -> Callable[[Tensor], Tensor]:
    """What turns pixels on a device into the network's input.

    Returns:
        uint8 (N, H, W, C) -> float32 (N, C, H, W) in the channels-last memory format.
    """
    std = torch.tensor(preprocessing.std)
    scale = (1 / (255 * std)).to(device)
    shift = (torch.tensor(preprocessing.mean) / std).to(device)
    return lambda pixels: (pixels * scale - shift).permute(0, 3, 1, 2)
