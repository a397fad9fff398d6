"""Grids of pictures show each at its shape, with its title, and natural colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawings import CIFAR, HOSTILE, LONG, check_texts, size
from matplotlib.figure import Figure
from PIL import Image

from maam.report import gallery


@pytest.mark.parametrize(
    ("count", "side", "channels", "classes"),
    [(40, 8, 1, CIFAR), (10, 32, 3, CIFAR), (3, 32, 3, LONG), (6, 200, 3, HOSTILE)],
)
def test_batch(count, side, channels, classes, tmp_path: Path, drawn: list[Figure]) -> None:
    images = np.zeros((count, channels, side, side), np.float32)
    labels = np.arange(count) % len(classes)
    gallery.batch(
        images, labels, classes, tmp_path / "batch.png", [0.5] * channels, [0.2] * channels
    )
    width, height = size(tmp_path / "batch.png")
    assert width >= 1000 and height >= 250
    (axes,) = drawn[0].axes
    assert len(axes.images) == len(axes.texts) == min(count, 32)
    # Few pixels are enlarged as they are.
    assert (axes.images[0].get_interpolation() == "nearest") == (side < 180)
    check_texts(drawn[0])


def test_batch_shows_the_colours_before_normalisation(tmp_path: Path) -> None:
    colour = np.array([200, 80, 40])
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.1, 0.2, 0.3])
    images = np.empty((1, 3, 8, 8), np.float32)
    images[:] = ((colour / 255 - mean) / std)[None, :, None, None]
    gallery.batch(
        images, np.array([0]), ["red"], tmp_path / "batch.png", mean.tolist(), std.tolist()
    )
    pixels = np.asarray(Image.open(tmp_path / "batch.png").convert("RGB")).astype(int)
    assert (np.abs(pixels - colour).max(axis=2) <= 1).sum() > 10_000


def test_grey_stays_between_black_and_white(tmp_path: Path) -> None:
    """A dim grey picture is not stretched to the full range."""
    images = np.full((1, 1, 8, 8), 0.25, np.float32)
    gallery.batch(images, np.array([0]), ["dim"], tmp_path / "batch.png", [0.0], [1.0])
    pixels = np.asarray(Image.open(tmp_path / "batch.png").convert("RGB")).astype(int)
    assert (np.abs(pixels - 64).max(axis=2) <= 1).sum() > 10_000


def test_mistakes_are_the_most_confident_wrong_answers(tmp_path: Path, drawn: list[Figure]) -> None:
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.97, 0.03], [0.2, 0.8], [0.0, 1.0]])
    labels = np.array([1, 0, 1, 0, 1])  # all wrong but the last
    gallery.mistakes(
        np.zeros((5, 8, 8, 3), np.uint8).__getitem__,
        labels,
        probabilities,
        [f"{i}.jpg" for i in range(5)],
        ["cat", "dog"],
        tmp_path / "mistakes.png",
        count=3,
    )
    arrow = "\u2192"
    (axes,) = drawn[0].axes
    assert [text.get_text() for text in axes.texts] == [
        f"dog {arrow} cat, 97 %\n2.jpg",
        f"cat {arrow} dog, 90 %\n1.jpg",
        f"cat {arrow} dog, 80 %\n3.jpg",
    ]
    assert drawn[0].get_suptitle().startswith("The 3 most confident of 4 mistakes on 5 images")


@pytest.mark.parametrize(
    ("count", "classes", "shape"),
    [
        (25, CIFAR, (8, 8, 1)),
        (6, LONG, (32, 32, 3)),
        (6, ["cat", "dog"], (20, 60, 3)),
        (6, HOSTILE, (60, 3, 3)),
    ],
)
def test_mistakes_page(count, classes, shape, tmp_path: Path, drawn: list[Figure]) -> None:
    rng = np.random.default_rng(0)
    total = 60
    probabilities = rng.dirichlet(np.ones(len(classes)), total)
    labels = (probabilities.argmax(axis=1) + 1) % len(classes)
    gallery.mistakes(
        rng.integers(0, 256, (total, *shape), np.uint8).__getitem__,
        labels,
        probabilities,
        [f"a folder/with a long name/{'m' * 30}{i}.jpg" for i in range(total)],
        classes,
        tmp_path / "mistakes.png",
        count,
    )
    width, height = size(tmp_path / "mistakes.png")
    assert width >= 1000 and height >= 300
    (axes,) = drawn[0].axes
    assert len(axes.images) == len(axes.texts) == count
    lowest = min(image.get_extent()[2] for image in axes.images)
    assert lowest >= 0
    for image, text in zip(axes.images, axes.texts, strict=True):
        left, right, low, high = image.get_extent()
        np.testing.assert_allclose((high - low) / (right - left), shape[0] / shape[1])
        assert text.get_position()[1] > high  # a title is above its picture
    check_texts(drawn[0])


def test_no_mistakes_is_said(tmp_path: Path, drawn: list[Figure]) -> None:
    gallery.mistakes(
        np.zeros((2, 8, 8, 1), np.uint8).__getitem__,
        np.array([0, 1]),
        np.eye(2),
        ["a", "b"],
        ["cat", "dog"],
        tmp_path / "mistakes.png",
    )
    assert size(tmp_path / "mistakes.png")[0] >= 1000
    assert drawn[0].get_suptitle() == "No mistakes: the model was right about all 2 images."
    check_texts(drawn[0])
