"""TrivialAugment "wide": one random operation of random strength per image.

Müller & Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", ICCV 2021,
arXiv 2103.10158, table 1 (wide). The ranges are those of ``torchvision.transforms``'
``TrivialAugmentWide``, but for one: an image is moved by at most 32 pixels *or its own side*, so
that it stays in sight; at 32x32 and above the two agree. And where an image ends, its reflection
goes on, as in ``crop``, instead of black, which no photograph has.

The random numbers (``draw_trivial``), the settings that they stand for (``settings``) and the work
on the pixels (``apply_trivial``) are apart: ``maam.torch.augment`` does the work on a GPU from the
same settings.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
ENHANCERS = ("Brightness", "Color", "Contrast", "Sharpness")
OPS = ("Identity", *GEOMETRIC, *ENHANCERS, "Posterize", "Solarize", "AutoContrast", "Equalize")
TOP = 30  # the strongest of 31 magnitudes, 0 to 30
REACH = 32  # pixels


class Draws(NamedTuple):
    """What happens to each image of a batch.

    Attributes:
        op: int (N,), an index into ``OPS``.
        level: int (N,), -30 to 30: the magnitude with the sign, which unsigned operations ignore.
    """

    op: np.ndarray
    level: np.ndarray


def draw_trivial(number: int, rng: np.random.Generator) -> Draws:
    """An operation, a magnitude and a sign for each image, uniform and independent."""
    op = rng.integers(0, len(OPS), number)
    magnitude = rng.integers(0, TOP + 1, number)
    return Draws(op, magnitude * rng.choice((-1, 1), number))


def settings(draws: Draws, height: int, width: int) -> np.ndarray:
    """What the draws mean for images of this size.

    Returns:
        float64 (N, 6), unused numbers 0. Geometric operations: (a, b, c, d, e, f) of the map from
        output to input pixels, x' = ax + by + c, y' = dx + ey + f, a pixel's centre at + 0.5.
        Enhancers: the factor. Posterize: the bits that are kept. Solarize: the threshold from
        which on values are inverted.
    """
    return _table(height, width)[draws.op, draws.level + TOP]


def apply_trivial(images: np.ndarray, draws: Draws) -> np.ndarray:
    """Carry the draws out.

    Args:
        images: uint8 (N, H, W, C), C 1 (grey) or 3 (RGB); not changed.
        draws: one per image.

    Returns:
        uint8, the same shape. Outside, the image is mirrored at its border pixels.
    """
    result = images.copy()
    rows = settings(draws, *images.shape[1:3])
    for number in np.flatnonzero(draws.op):  # op 0 changes nothing
        op, setting = OPS[draws.op[number]], rows[number]
        if op in GEOMETRIC:
            result[number] = _warp(images[number], setting)
            continue
        image = images[number, ..., 0] if images.shape[3] == 1 else images[number]
        changed = _apply_one(Image.fromarray(image), op, setting.tolist())
        result[number] = np.asarray(changed).reshape(images.shape[1:])
    return result


def trivial_augment(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """TrivialAugment "wide" on a batch, each image by itself.

    Args:
        images: uint8 (N, H, W, C), C 1 (grey) or 3 (RGB); not changed.
        rng: where the randomness comes from.

    Returns:
        uint8, the same shape.
    """
    return apply_trivial(images, draw_trivial(len(images), rng))


@functools.lru_cache(maxsize=8)
def _table(height: int, width: int) -> np.ndarray:
    """The settings of every operation at every level: (14, 61, 6)."""
    table = np.zeros((len(OPS), 2 * TOP + 1, 6))
    for op, rows in zip(OPS, table, strict=True):
        for level, row in zip(range(-TOP, TOP + 1), rows, strict=True):
            setting = _setting(op, level, height, width)
            row[: len(setting)] = setting
    table.flags.writeable = False
    return table


def _setting(op: str, level: int, height: int, width: int) -> tuple[float, ...]:
    match op:
        case "ShearX":
            return 1, 0.99 * level / TOP, 0, 0, 1, 0
        case "ShearY":
            return 1, 0, 0, 0.99 * level / TOP, 1, 0
        case "TranslateX":
            return 1, 0, -int(min(REACH, width) * level / TOP), 0, 1, 0
        case "TranslateY":
            return 1, 0, 0, 0, 1, -int(min(REACH, height) * level / TOP)
        case "Rotate":
            return _rotation(135 * level / TOP, height, width)
        case "Brightness" | "Color" | "Contrast" | "Sharpness":
            return (1 + 0.99 * level / TOP,)
        case "Posterize":
            return (8 - round(6 * abs(level) / TOP),)
        case "Solarize":
            return (255 - 8.5 * abs(level),)
        case _:
            return ()


def _rotation(degrees: float, height: int, width: int) -> tuple[float, ...]:
    """Counter-clockwise about the image's middle, the numbers of ``PIL.Image.rotate``."""
    # Rounded, so that a right angle has a cosine of 0.
    cos = round(math.cos(math.radians(degrees)), 15)
    sin = round(math.sin(math.radians(degrees)), 15)
    x, y = width / 2, height / 2
    return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y


def _warp(image: np.ndarray, setting: np.ndarray) -> np.ndarray:
    """Nearest neighbour under an affine map, for one image (H, W, C).

    In the 16.16 fixed-point numbers of Pillow's ``affine_fixed`` (libImaging/Geometry.c), so that
    a pixel from inside the image is the one that ``Image.transform`` takes.
    """
    a, b, c, d, e, f = setting
    # From pixel numbers to pixel centres: half a step in both directions.
    numbers = a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5
    a, b, c, d, e, f = np.floor(np.array(numbers) * 65536 + 0.5).astype(np.int64).tolist()
    height, width = image.shape[:2]
    x, y = np.arange(width), np.arange(height)[:, None]
    rows, columns = (d * x + (e * y + f)) >> 16, (a * x + (b * y + c)) >> 16
    index = _reflect(rows, height) * width + _reflect(columns, width)
    return image.reshape(height * width, -1).take(index, axis=0)


def _reflect(positions: np.ndarray, length: int) -> np.ndarray:
    """Positions outside 0..length-1, however far, mirrored at the first and last one."""
    last = length - 1
    return last - abs(positions % max(2 * last, 1) - last)


def _apply_one(image: Image.Image, op: str, setting: list[float]) -> Image.Image:
    if op in ENHANCERS:
        return getattr(ImageEnhance, op)(image).enhance(setting[0])
    match op:
        case "Posterize":
            return ImageOps.posterize(image, int(setting[0]))
        case "Solarize":
            return ImageOps.solarize(image, math.ceil(setting[0]))
        case "AutoContrast":
            return ImageOps.autocontrast(image)
        case "Equalize":
            return ImageOps.equalize(image)
        case _:
            return image
