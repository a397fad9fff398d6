"""The input pipeline in PyTorch: all images lie on the device as uint8, and vary there.

The mirror of ``maam.mindspore.loader``: order and augmentation depend on seed and epoch alone, and
the random numbers are drawn on the CPU, so that every device sees the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from maam.data.augment import Augmentation
from maam.data.augment.mixing import draw_mix
from maam.data.preprocessing import Preprocessing
from maam.torch.augment import apply_mix, augment

CHUNK = 2**23  # pixels augmented at a time: enough to keep a GPU busy, little enough for memory


def train_batches(
    images: Tensor,
    labels: Tensor,
    preprocessing: Preprocessing,
    batch_size: int,
    augmentation: Augmentation,
    key: tuple[int, int],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled, augmented batches of one epoch; its first images fill the last batch up.

    Args:
        images: uint8 (M, H, W, C), on the device.
        labels: int64 (M,), on the device.
        preprocessing: how pixels become numbers.
        batch_size: images in a batch, at most M.
        augmentation: how the images vary.
        key: (seed, epoch): the same key gives the same batches.

    Yields:
        (images, labels): float32 (batch_size, C, H, W), channels last, and int64 (batch_size,) or,
        where images are mixed, float32 (batch_size, num_classes).
    """
    generator = torch.Generator()
    generator.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
    rng = np.random.default_rng(key)
    to_input = input_maker(preprocessing, images.device)
    order = torch.randperm(len(labels), generator=generator).to(images.device)
    order = torch.cat([order, order[: -len(order) % batch_size]])
    height, width = preprocessing.size
    for part in order.split(max(1, CHUNK // (batch_size * height * width)) * batch_size):
        pixels = augment(images[part], augmentation.kind, generator, rng)
        batches = zip(pixels.split(batch_size), labels[part].split(batch_size), strict=True)
        for some, answers in batches:
            inputs = to_input(some)
            if not augmentation.mixes:
                yield inputs, answers
                continue
            mix = draw_mix(rng, augmentation.mixup, augmentation.cutmix, preprocessing.size)
            shares = F.one_hot(answers, augmentation.num_classes).float()
            yield apply_mix(inputs, mix), torch.lerp(shares.roll(1, 0), shares, mix.share)


def input_maker(preprocessing: Preprocessing, device: torch.device) -> Callable[[Tensor], Tensor]:
    """What turns pixels on a device into the network's input.

    Returns:
        uint8 (N, H, W, C) -> float32 (N, C, H, W) in the channels-last memory format.
    """
    std = torch.tensor(preprocessing.std)
    scale = (1 / (255 * std)).to(device)
    shift = (torch.tensor(preprocessing.mean) / std).to(device)
    return lambda pixels: (pixels * scale - shift).permute(0, 3, 1, 2)
