from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hostile import encode, make_hostile, picture, rotated_jpeg
from PIL import Image

from maam.core.errors import MaamError
from maam.data.description import describe
from maam.data.duplicates import LISTED, Sample, find_copies
from maam.data.sources.folder import load


def plant(root: Path, sizes: dict[str, tuple[int, int]]) -> Path:
    """Write one distinct PNG of the size given to each of the names below ``root``."""
    for seed, (name, size) in enumerate(sizes.items()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encode(picture(*size, seed), "PNG"))
    return root


def many(folder: str, count: int, size: tuple[int, int] = (20, 16)) -> dict[str, tuple[int, int]]:
    return {f"{folder}/{number:03}.png": size for number in range(count)}


def test_a_sound_folder_needs_no_advice(tmp_path: Path) -> None:
    found = describe(str(plant(tmp_path, {**many("a", 40), **many("b", 40)})))
    assert found.classes == ("a", "b")
    assert found.counts == {
        "train": {"a": 29, "b": 29},
        "val": {"a": 3, "b": 3},
        "test": {"a": 8, "b": 8},
    }
    assert found.image_shape == (32, 32, 3)
    assert found.imbalance == 1
    assert found.advice == []


def test_it_describes_the_splits_that_training_will_use(tmp_path: Path) -> None:
    root = plant(tmp_path, {**many("a", 12), **many("b", 17)})
    for name in load(root, None, 0.2, 5).test.names[:1]:
        shutil.copy(name, root / "a" / "copy.png")
    found, dataset = describe(str(root), None, None, 0.2, 5), load(root, None, 0.2, 5)
    for split in ("train", "val", "test"):
        labels = getattr(dataset, split).labels.tolist()
        assert found.counts[split] == {"a": labels.count(0), "b": labels.count(1)}
    for pair in found.copies.leaks:
        for sample in pair:
            assert sample.name in getattr(dataset, sample.split).names


def test_sizes_formats_and_modes_are_those_of_the_files(tmp_path: Path) -> None:
    sizes = {"train/a/1.png": (10, 40), "train/a/2.png": (30, 20), "test/b/3.png": (50, 60)}
    root = plant(tmp_path, {**sizes, "val/b/1.png": (10, 40), "val/b/2.png": (11, 41)})
    (root / "train" / "b").mkdir()
    (root / "train" / "b" / "turned.jpg").write_bytes(rotated_jpeg(6))  # stored 32x16, shown 16x32
    (root / "train" / "b" / "grey.png").write_bytes(encode(Image.new("L", (9, 9)), "PNG"))
    found = describe(str(root))
    assert found.sizes.smallest == (9, 9)
    assert found.sizes.median == (11, 40)
    assert found.sizes.largest == (50, 60)
    assert found.sizes.distinct == 6
    assert found.formats == {"PNG": 6, "JPEG": 1}
    assert found.modes == {"RGB": 6, "L": 1}


def test_copies_across_splits_and_classes_are_found(tmp_path: Path) -> None:
    root = plant(
        tmp_path,
        {**many("train/a", 20), **many("train/b", 20), **many("val/a", 2), **many("test/b", 2)},
    )
    original = root / "train" / "a" / "003.png"
    for copy in ["train/a/again.png", "train/b/wrong.png", "test/a/leak.png"]:
        (root / copy).parent.mkdir(exist_ok=True)
        # Not the same bytes: the same pixels.
        (root / copy).write_bytes(encode(Image.open(original), "BMP"))
    found = describe(str(root))
    test = Sample("test", "a", str(root / "test/a/leak.png"))
    assert found.copies.leaks == (
        (Sample("train", "a", str(original)), test),
        (Sample("train", "a", str(root / "train/a/again.png")), test),
        (Sample("train", "b", str(root / "train/b/wrong.png")), test),
    )
    assert found.copies.leak_count == 3
    assert found.copies.repeats_in_train == 2
    assert found.copies.conflict_count == 1
    assert found.copies.conflicts == (
        (
            Sample("train", "a", str(original)),
            Sample("train", "b", str(root / "train/b/wrong.png")),
        ),
    )
    assert [line.split(":")[0] for line in found.advice] == [
        "no val images of 'b'",
        "pairs of identical images in two splits",
        "identical images in two classes",
    ]


def test_the_list_of_copies_is_short_and_the_count_complete() -> None:
    samples = [
        Sample(split, label, f"{split}/{label}/{number}")
        for split in ("train", "val", "test")
        for label in ("a", "b")
        for number in range(10)
    ]
    copies = find_copies((sample, b"same") for sample in samples)
    assert copies.leak_count == 3 * 20 * 20
    assert len(set(copies.leaks)) == LISTED
    assert all(one.split != other.split for one, other in copies.leaks)
    assert copies.repeats_in_train == 19
    assert copies.conflict_count == 1
    assert [sample.name for sample in copies.conflicts[0]] == ["train/a/0", "train/b/0"]


def test_images_of_equal_bytes_and_other_shape_are_not_copies(tmp_path: Path) -> None:
    root = plant(tmp_path, {**many("a", 5), **many("b", 5)})
    (root / "a" / "wide.png").write_bytes(encode(Image.new("RGB", (30, 20)), "PNG"))
    (root / "b" / "tall.png").write_bytes(encode(Image.new("RGB", (20, 30)), "PNG"))
    assert describe(str(root)).copies.conflict_count == 0


def test_advice_names_what_is_wrong(tmp_path: Path) -> None:
    root = plant(tmp_path, {**many("few", 6, (200, 150)), **many("many", 40, (200, 150))})
    corpus = make_hostile(root / "hostile")
    (root / "few" / "drawing.psd").write_bytes(b"x")
    found = describe(str(root))
    unreadable, ignored, several, unbalanced, few, leaks, *_ = found.advice
    assert len(found.unreadable) == list(corpus.values()).count(False)
    assert unreadable.startswith(f"files that cannot be read: {len(found.unreadable)}, such as ")
    assert ignored == "files that are not used: 1 not an image (.psd)"
    assert several.startswith("files of several pages or frames: 1, such as ")
    assert found.ignored == {"not an image (.psd)": 1}
    counts = found.counts["train"]
    assert f"{counts['many']} training images of 'many', {counts['few']} of 'few'" in unbalanced
    assert found.imbalance == pytest.approx(counts["many"] / counts["few"])
    assert few.startswith("fewer than 20 training images of 'few'")
    assert leaks.startswith("pairs of identical images in two splits: ")  # the corpus repeats some
    assert found.image_shape == (64, 64, 3)
    assert not any("shrinks" in line for line in found.advice)
    *_, large = describe(str(root), image_size=32).advice
    assert "200x150 pixels shrinks to 32x32" in large and "`image_size=64`" in large


def test_it_is_json(tmp_path: Path) -> None:
    found = describe(str(plant(tmp_path, {**many("a", 5), **many("b", 5)})))
    content = json.loads(json.dumps(found.to_dict()))
    assert content["counts"] == found.counts
    assert content["sizes"]["median"] == [20, 16]
    assert content["copies"]["leaks"] == []
    assert content["advice"] == found.advice


def test_an_archive_is_described_like_its_folder(tmp_path: Path) -> None:
    root = plant(tmp_path / "pets", {**many("a", 5), **many("b", 5)})
    archive = shutil.make_archive(str(tmp_path / "pets"), "zip", root)
    one, other = describe(str(root)), describe(archive)
    assert (one.counts, one.sizes, one.formats) == (other.counts, other.sizes, other.formats)


def test_a_built_in_data_set_is_described_from_its_arrays() -> None:
    pytest.importorskip("sklearn")
    found = describe("digits")
    assert sum(sum(counts.values()) for counts in found.counts.values()) == 1797
    height, width, channels = found.image_shape
    assert found.sizes.smallest == found.sizes.largest == (width, height)
    assert found.modes == {{1: "L", 3: "RGB"}[channels]: 1797}
    assert found.formats == {}
    assert found.imbalance < 1.2


def test_an_unknown_name_is_the_same_error_as_in_training() -> None:
    with pytest.raises(MaamError, match="no such folder or archive"):
        describe("cifar11")


def test_progress_counts_every_image(tmp_path: Path) -> None:
    plant(tmp_path / "pets", {**many("cat", 20), **many("dog", 12)})
    for data, images in ((str(tmp_path / "pets"), 32), ("digits", 1797)):
        told: list[tuple[int, int]] = []
        describe(data, inspected=lambda done, total, told=told: told.append((done, total)))
        counts = [done for done, _ in told]
        assert counts == sorted(set(counts)) and told[-1] == (images, images)
        assert {total for _, total in told} == {images}
