"""Random shifts: what lies beyond the border of an image."""

from __future__ import annotations

import numpy as np
import pytest

from maam.data.augment import Augmentation, augment


@pytest.mark.parametrize("kind", ["crop", "crop-flip"])
@pytest.mark.parametrize("size", [(32, 32), (1, 1), (1, 9), (5, 40)])
def test_a_shifted_image_has_no_border_of_another_colour(kind, size):
    white = np.full((20, *size, 3), 255, np.uint8)
    assert augment(white, Augmentation(kind), np.random.default_rng(0)).min() == 255


def test_the_image_is_mirrored_at_its_border_pixel():
    column = np.arange(8, dtype=np.uint8)[None, :, None, None]
    images = np.tile(column, (60, 1, 8, 1))
    shifted = augment(images, Augmentation("crop"), np.random.default_rng(0))
    seen = {tuple(image[:, 0, 0].tolist()) for image in shifted}
    up = (1, 0, 1, 2, 3, 4, 5, 6)
    down = (1, 2, 3, 4, 5, 6, 7, 6)
    assert seen == {up, tuple(range(8)), down}
