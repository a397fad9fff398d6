"""Augmentation in PyTorch, whole batches at a time on any device.

The same results, pixel by pixel, as ``maam.data.augment.crop``, ``.trivial``, ``.erasing``,
``.mixing`` and ``.resizing`` from the same draws. The draws are made on the CPU: a seed means the
same on every device, and the device never has to be waited for to learn how many images drew what.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from maam.data.augment import AUGMENTATIONS, BUILT_IN, Augmentation
from maam.data.augment.erasing import draw_boxes
from maam.data.augment.mixing import Mix
from maam.data.augment.trivial import OPS, TOP, Draws, settings


def augment(
    images: Tensor, how: Augmentation, generator: torch.Generator, rng: np.random.Generator
) -> Tensor:
    """Vary a batch, each image by itself; they are mixed later, as numbers.

    Args:
        images: uint8 (N, H, W, C); not changed.
        how: the kind, and the share to erase; a kind that is not built in works on the CPU, in
            NumPy.
        generator, rng: where the randomness comes from, of the built-in kinds and of the rest.

    Returns:
        uint8, the same shape.
    """
    if how.kind in BUILT_IN:
        pixels = crop_flip(images, how.kind, generator)
        pixels = trivial_augment(pixels, generator) if how.kind == "trivial" else pixels
    else:
        changed = AUGMENTATIONS[how.kind](images.cpu().numpy(), rng)
        pixels = torch.from_numpy(np.ascontiguousarray(changed)).to(images.device)
    if how.erase > 0:
        height, width = pixels.shape[1:3]
        pixels = erase(pixels, draw_boxes(rng, len(pixels), (height, width), how.erase))
    return pixels


def crop_flip(images: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Randomly shift and mirror a batch, each image by itself.

    Args:
        images: uint8 (N, H, W, C); not changed.
        kind: ``none``; ``crop``: pad an eighth of the side (4 at 32 pixels) all round with the
            image's reflection and cut the size back out anywhere; ``crop-flip`` and ``trivial``
            (whose second half is ``trivial_augment``): mirror half of the images as well.
        generator: where the randomness comes from, on the CPU.

    Returns:
        uint8, the same shape.
    """
    if kind == "none":
        return images
    number, height, width, _ = images.shape
    pad = max(1, min(height, width) // 8)
    shifts = torch.randint(-pad, pad + 1, (2, number), generator=generator)
    mirrored = torch.zeros(number, dtype=torch.bool)
    if kind != "crop":
        mirrored = torch.rand(number, generator=generator) < 0.5
    return shift_mirror(images, shifts, mirrored)


def shift_mirror(images: Tensor, shifts: Tensor, mirrored: Tensor) -> Tensor:
    """Cut each image out anew, its reflection where it ends, and mirror some.

    Args:
        images: uint8 (N, H, W, C).
        shifts: int (2, N), the pixels that the cut moves down and right, less than H and W.
        mirrored: bool (N,), which images are mirrored left to right after that.

    Returns:
        uint8 (N, H, W, C).
    """
    height, width = images.shape[1:3]
    down, right, flip = _send(torch.stack((*shifts, mirrored)), images.device)[:, :, None]
    columns = torch.arange(width, device=images.device)
    columns = torch.where(flip > 0, columns.flip(0), columns) + right  # (N, W)
    rows = torch.arange(height, device=images.device) + down  # (N, H)
    return _sample(images, rows[:, :, None], columns[:, None, :])


def erase(images: Tensor, boxes: np.ndarray) -> Tensor:
    """Make rectangles black; as ``maam.data.augment.erasing.erase``.

    Args:
        images: uint8 (N, H, W, C); not changed.
        boxes: from ``maam.data.augment.erasing.draw_boxes``, for this size.

    Returns:
        uint8, the same shape.
    """
    top, bottom, left, right = _send(torch.from_numpy(boxes), images.device).T[:, :, None]
    rows = torch.arange(images.shape[1], device=images.device)
    columns = torch.arange(images.shape[2], device=images.device)
    tall, wide = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return images * ~(tall[:, :, None] & wide[:, None, :])[..., None]


def trivial_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """TrivialAugment "wide" on a batch, each image by itself; see ``maam.data.augment.trivial``.

    Args:
        images: uint8 (N, H, W, C), C 1 (grey) or 3 (RGB); not changed. The work is grouped by
            operation: hand over thousands at once to keep a GPU busy.
        generator: where the randomness comes from, on the CPU.

    Returns:
        uint8, the same shape.
    """
    return apply_trivial(images, draw_trivial(len(images), generator))


def draw_trivial(number: int, generator: torch.Generator) -> Draws:
    """An operation, a magnitude and a sign for each image, uniform and independent."""
    op = torch.randint(len(OPS), (number,), generator=generator)
    magnitude = torch.randint(TOP + 1, (number,), generator=generator)
    sign = 2 * torch.randint(2, (number,), generator=generator) - 1
    return Draws(op.numpy(), (magnitude * sign).numpy())


def apply_trivial(images: Tensor, draws: Draws) -> Tensor:
    """Carry the draws out.

    Args:
        images: uint8 (N, H, W, C), C 1 (grey) or 3 (RGB); not changed.
        draws: one per image.

    Returns:
        uint8, the same shape.
    """
    op = torch.from_numpy(draws.op)
    order, counts = op.argsort(stable=True), op.bincount(minlength=len(OPS)).tolist()
    rows = torch.from_numpy(settings(draws, *images.shape[1:3]))[order]
    order, rows = _send(order, images.device), _send(rows, images.device)
    groups = zip(OPS, images[order].split(counts), rows.split(counts), strict=True)
    changed = torch.cat([_apply_group(name, group, setting) for name, group, setting in groups])
    return torch.empty_like(images).index_copy_(0, order, changed)


def apply_mix(images: Tensor, mix: Mix) -> Tensor:
    """Mix each image with the one before it; as ``maam.data.augment.mixing.apply_mix``.

    Args:
        images: floating point (N, C, H, W); not changed. The memory format is kept.
        mix: from ``maam.data.augment.mixing.draw_mix``, for this size.

    Returns:
        (N, C, H, W), the same type.
    """
    if mix.share == 1:
        return images
    partners = images.roll(1, 0)
    if mix.box is None:
        return mix.share * images + (1 - mix.share) * partners
    top, left, height, width = mix.box
    inside = (..., slice(top, top + height), slice(left, left + width))
    mixed = images.clone()
    mixed[inside] = partners[inside]
    return mixed


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    """To the device without waiting for it."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _apply_group(op: str, images: Tensor, setting: Tensor) -> Tensor:
    """One operation on the images (n, H, W, C) that drew it, n >= 0; setting (n, 6)."""
    number = setting[:, :1, None, None]  # (n, 1, 1, 1)
    match op:
        case "ShearX" | "ShearY" | "TranslateX" | "TranslateY" | "Rotate":
            return _warp(images, setting)
        case "Brightness":
            return _blend(torch.zeros_like(images), images, number)
        case "Color":
            return _blend(_grey(images), images, number)
        case "Contrast":
            return _blend(_mean_grey(images), images, number)
        case "Sharpness":
            return _blend(_smooth(images), images, number)
        case "Posterize":
            dropped = (8 - number).to(torch.uint8)
            return images >> dropped << dropped
        case "Solarize":
            return torch.where(images < number, images, 255 - images)
        case "AutoContrast":
            return _autocontrast(images)
        case "Equalize":
            return _equalize(images)
        case _:
            return images


def _reflect(positions: Tensor, length: int) -> Tensor:
    """Positions outside 0..length-1, however far, mirrored at the first and last one."""
    last = length - 1
    return last - (positions.remainder(max(2 * last, 1)) - last).abs()


def _sample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixels of each image by row and column, its reflection outside: -> (N, H, W, C).

    ``rows`` and ``columns`` are whole numbers that broadcast to (N, H, W).
    """
    number, height, width, channels = images.shape
    first = torch.arange(0, number * height, height, device=images.device)[:, None, None]
    index = (first + _reflect(rows, height)) * width + _reflect(columns, width)
    return images.reshape(-1, channels).index_select(0, index.flatten()).view(images.shape)


def _warp(images: Tensor, setting: Tensor) -> Tensor:
    """Nearest neighbour under an affine map, in the 16.16 fixed-point numbers of Pillow's
    ``affine_fixed`` (libImaging/Geometry.c), as ``trivial._warp``: the same pixel even where two
    are equally near."""
    a, b, c, d, e, f = setting.unbind(1)
    # From pixel numbers to pixel centres: half a step in both directions.
    c, f = c + a * 0.5 + b * 0.5, f + d * 0.5 + e * 0.5
    fixed = torch.stack((a, b, c, d, e, f), 1).mul(65536).add(0.5).floor().int()
    a, b, c, d, e, f = fixed[:, :, None, None].unbind(1)  # (n, 1, 1) each
    height, width = images.shape[1:3]
    x = torch.arange(width, device=images.device, dtype=torch.int32)
    y = torch.arange(height, device=images.device, dtype=torch.int32)[:, None]
    return _sample(images, (d * x + e * y + f) >> 16, (a * x + b * y + c) >> 16)


def _blend(degenerate: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """``ImageEnhance``: away from the degenerate image; single precision, cut off, as Pillow's."""
    start = degenerate.float()
    return (start + factor.float() * (images - start)).clamp(0, 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """Luma (ITU-R 601) in Pillow's integers: int32 (n, H, W, 1)."""
    if images.shape[3] == 1:
        return images.int()
    red, green, blue = images.int().split(1, 3)
    return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


def _mean_grey(images: Tensor) -> Tensor:
    """Each image's mean luma, rounded half up: int64 (n, 1, 1, 1)."""
    count = images.shape[1] * images.shape[2]
    return (2 * _grey(images).sum((1, 2), keepdim=True) + count) // (2 * count)


def _smooth(images: Tensor) -> Tensor:
    """``ImageFilter.SMOOTH``: 3x3 mean, the middle five times, over 13; the border as it is."""
    pixels = images.short()
    rows = pixels[:, :-2] + pixels[:, 1:-1] + pixels[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * pixels[:, 1:-1, 1:-1]
    smooth = images.clone()
    smooth[:, 1:-1, 1:-1] = ((2 * total + 13) // 26).to(torch.uint8)  # rounded; no ties over 13
    return smooth


def _autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel to 0..255; in double precision and cut off, as Pillow's."""
    low, high = images.amin((1, 2), keepdim=True), images.amax((1, 2), keepdim=True)
    span = (high - low).double()
    scale = torch.full_like(span, 255) / span  # 255 / span would be 255 * (1 / span), less exact
    stretched = images * scale - low * scale
    return torch.where(high > low, stretched.clamp(0, 255), images).to(torch.uint8)


def _equalize(images: Tensor) -> Tensor:
    """Spread each channel's values by rank, in the integers of ``ImageOps.equalize``."""
    number, height, width, channels = images.shape
    values = images.reshape(number, height * width, channels).long()
    zeros = torch.zeros(number, 256, channels, dtype=torch.int64, device=images.device)
    histogram = zeros.scatter_add(1, values, torch.ones_like(values))
    brightest = histogram.gather(1, values.amax(1, keepdim=True))
    step = (height * width - brightest) // 255  # (n, 1, C); 0: too few values to spread
    below = histogram.cumsum(1) - histogram
    lookup = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    spread = torch.where(step > 0, lookup.gather(1, values), values)
    return spread.view(images.shape).to(torch.uint8)


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images of fewer pixels, by linear interpolation with antialiasing.

    Args:
        images: float32 (N, C, H, W).
        size: height and width, not above H and W.

    Returns:
        float32 (N, C, *size), channels last.
    """
    small = F.interpolate(images, size, mode="bilinear", antialias=True)
    return small.contiguous(memory_format=torch.channels_last)
