from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maam.data import near_duplicates
from maam.data.description import describe
from maam.data.near_duplicates import Fingerprint, find_near_pairs, fingerprints, shrink


def scene(seed: int, side: int = 96) -> Image.Image:
    """Discs of random colours on a random ground: what one knows again when it is shrunk."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side
    pixels = np.empty((side, side, 3), np.uint8)
    pixels[:] = rng.integers(0, 256, 3)
    for _ in range(12):
        y, x, radius = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.08, 0.25)
        pixels[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = rng.integers(0, 256, 3)
    return Image.fromarray(pixels)


def look(images: list[Image.Image]) -> list[Fingerprint]:
    return fingerprints(np.stack([shrink(image) for image in images]))


def saved_again(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(file).convert("RGB")


def cropped(image: Image.Image) -> Image.Image:
    return image.crop((1, 1, image.width - 1, image.height - 1))


COPIES = {
    "smaller": lambda image: image.resize((40, 40), Image.Resampling.BICUBIC),
    "larger": lambda image: image.resize((200, 200), Image.Resampling.BICUBIC),
    "saved again": saved_again,
    "cropped": cropped,
    "brighter": lambda image: image.point(lambda level: min(255, round(level * 1.1))),
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found_and_others_are_not(kind: str) -> None:
    originals = [scene(seed) for seed in range(60)]
    copies = [COPIES[kind](image) for image in originals]
    found = find_near_pairs(look(originals + copies))
    right = {(i, i + 60) for i in range(60)}
    pairs = {(one, other) for one, other in found.pairs.tolist()}
    assert found.complete
    assert len(pairs & right) >= 57
    assert pairs <= right


def test_flat_images_look_like_nothing() -> None:
    images = [Image.new("RGB", (30, 30), (level, 0, 9)) for level in (0, 1, 2)]
    assert not len(find_near_pairs(look(images)).pairs)


def test_all_pairs_within_the_distance_are_found_once() -> None:
    """As many as a comparison of all with all finds."""
    rng = np.random.default_rng(0)
    thumbnail = scene(0).resize((8, 8)).tobytes()
    centres = [int(value) for value in rng.integers(0, 2**63, 6)]
    hashes = []
    for _ in range(300):
        value = centres[rng.integers(6)]
        for bit in rng.choice(63, rng.integers(0, 8), replace=False):
            value ^= 1 << int(bit)
        hashes.append(value)
    expected = [
        [one, other]
        for one in range(300)
        for other in range(one + 1, 300)
        if (hashes[one] ^ hashes[other]).bit_count() <= near_duplicates.DISTANCE
    ]
    found = find_near_pairs([Fingerprint(value, thumbnail) for value in hashes])
    assert found.pairs.tolist() == expected


def test_more_pairs_than_can_be_compared_are_said_to_be_more() -> None:
    prints = [Fingerprint(7, scene(0).resize((8, 8)).tobytes())] * 1500
    tracemalloc.start()
    try:
        found = find_near_pairs(prints)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not found.complete
    assert len(found.pairs) == near_duplicates.MOST_PAIRS
    assert peak < 100 * 2**20  # 1.1 million pairs are there to be looked at


def test_a_description_names_pairs_across_splits_and_classes(tmp_path: Path) -> None:
    def write(name: str, image: Image.Image) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / name)

    for seed in range(25):
        write(f"train/a/{seed:02}.png", scene(seed))
        write(f"train/b/{seed:02}.png", scene(100 + seed))
    write("test/a/same.png", scene(3))
    write("test/a/small.jpg", scene(4).resize((48, 48)))
    write("test/b/own.png", scene(300))
    write("train/b/small.jpg", scene(5).resize((48, 48)))
    write("train/a/small.jpg", scene(6).resize((48, 48)))
    found = describe(str(tmp_path))
    near = found.near_copies
    names = [
        [[Path(sample.name).relative_to(tmp_path).as_posix() for sample in pair] for pair in pairs]
        for pairs in (near.leaks, near.conflicts, near.repeats)
    ]
    assert names == [
        [["train/a/04.png", "test/a/small.jpg"]],
        [["train/a/05.png", "train/b/small.jpg"]],
        [["train/a/06.png", "train/a/small.jpg"]],
    ]
    assert (near.leak_count, near.conflict_count, near.repeat_count) == (1, 1, 1)
    assert found.copies.leak_count == 1  # the identical one is told of there alone
    kinds = [line.split(":")[0] for line in found.advice]
    assert kinds[:3] == [
        "pairs of identical images in two splits",
        "pairs of images that look the same in two splits",
        "images that look the same in two classes",
    ]
