"""A large JPEG is decoded smaller than it is, and its fitted pixels stay nearly the same."""

from __future__ import annotations

import numpy as np
import pytest
from hostile import encode, picture
from PIL import Image

from maam.data.files.conversion import fit
from maam.data.files.decoding import decode


def photo(width: int, height: int) -> Image.Image:
    """Waves of all lengths, the shorter the weaker, and some noise: as photographs have them."""
    rng = np.random.default_rng(0)
    image = np.zeros((height, width, 3))
    for octave in range(2, 9):
        coarse = rng.normal(0, 2.0 ** (6 - octave) * 8, (2**octave, 2**octave, 3))
        channels = [
            Image.fromarray(coarse[..., c].astype(np.float32)).resize((width, height), 3)
            for c in range(3)
        ]
        image += np.stack([np.asarray(channel) for channel in channels], 2)
    image += 128 + rng.normal(0, 2, image.shape)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("side", [16, 32, 64])
@pytest.mark.parametrize("quality", [75, 95])
def test_a_large_jpeg_decoded_small_fits_to_nearly_the_same_pixels(side: int, quality: int) -> None:
    file = encode(photo(600, 400), "JPEG", quality=quality)
    whole, small = decode(file), decode(file, size=(side, side))
    assert 2 * side <= min(small.size) < min(whole.size)
    one, other = (fit(image, (side, side), 3).astype(int) for image in (whole, small))
    assert np.abs(one - other).mean() < 0.5
    assert np.abs(one - other).max() <= 4


@pytest.mark.parametrize("size", [(32, 32), (20, 40), (90, 300), (300, 90)])
def test_a_jpeg_stays_twice_as_large_as_it_is_fitted_to(size: tuple[int, int]) -> None:
    image = decode(encode(picture(320, 240), "JPEG"), size=size)
    assert image.size == (320, 240) or min(image.size) >= 2 * max(size)
    assert (image.size == (320, 240)) == (4 * max(size) > 240)
