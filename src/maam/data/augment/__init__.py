"""How training images vary: one kind a file, one registry. NumPy and Pillow only.

A kind is a function of a batch, uint8 (N, H, W, C), and a random generator, that gives a new batch
of the same shape. ``maam.torch.augment`` has the built-in ones for a GPU; it calls any other kind
as it stands here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maam.data.augment.crop import crop, crop_flip
from maam.data.augment.erasing import draw_boxes, erase
from maam.data.augment.trivial import trivial_augment

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]

AUGMENTATIONS: dict[str, Augment] = {
    "none": lambda images, rng: images,
    "crop": crop,
    "crop-flip": crop_flip,
    "trivial": lambda images, rng: trivial_augment(crop_flip(images, rng), rng),
}
BUILT_IN = frozenset(AUGMENTATIONS)


def register_augmentation(name: str, augment: Augment) -> None:
    """Make a kind of augmentation known, for the option ``augment``.

    Args:
        name: as the option spells it.
        augment: uint8 (N, H, W, C) and a generator -> uint8, the same shape; the images that it is
            given stay as they are.

    Raises:
        ValueError: the name is taken.
    """
    if name in AUGMENTATIONS or name == "auto":
        raise ValueError(f"there is an augmentation {name!r} already")
    AUGMENTATIONS[name] = augment


@dataclass(frozen=True)
class Augmentation:
    """How training images vary.

    Attributes:
        kind: a name in ``AUGMENTATIONS``.
        erase: share of the images that lose a rectangle after that.
        mixup, cutmix: alphas; 0 is off.
        num_classes: needed where images are mixed.
        size: (H, W) to which they are shrunk at last; None: as they are.
    """

    kind: str = "none"
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    num_classes: int = 0
    size: tuple[int, int] | None = None

    @property
    def mixes(self) -> bool:
        """Whether labels are shares of classes, (N, num_classes), and not class numbers."""
        return self.mixup > 0 or self.cutmix > 0


def augment(images: np.ndarray, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Vary a batch, each image by itself; they are mixed later, as numbers.

    Args:
        images: uint8 (N, H, W, C); not changed.
        how: the kind, and the share to erase.
        rng: where the randomness comes from.

    Returns:
        uint8, the same shape.

    Raises:
        KeyError: there is no such kind.
    """
    pixels = AUGMENTATIONS[how.kind](images, rng)
    if how.erase > 0:
        number, height, width, _ = pixels.shape
        pixels = erase(pixels, draw_boxes(rng, number, (height, width), how.erase))
    return pixels
