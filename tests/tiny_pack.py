"""A small pack of several shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import maam
from maam.data import packing
from maam.data.files.packs import open_pack
from maam.data.sources.packed import PackedSplit


def make_pack(folder: Path, classes: int, images: int, side: int = 8) -> Path:
    """Pack different images of each class, at most 16 in a shard.

    Args:
        folder: where ``photos`` and the pack are made.
        classes, images: how many, and how many of each.
        side: in pixels.
    """
    rng = np.random.default_rng(0)
    for label in range(classes):
        inside = folder / "photos" / f"{label:03}"
        inside.mkdir(parents=True)
        for number in range(images):
            pixels = rng.integers(0, 256, (side, side, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(inside / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "SHARD_IMAGES", 16)
        return maam.pack(folder / "photos", folder / "packed", image_size=side).path


def whole(pack: Path) -> PackedSplit:
    """All images of a pack, none held out."""
    opened = open_pack(pack)
    return PackedSplit(opened, np.arange(len(opened.rows["label"])))
