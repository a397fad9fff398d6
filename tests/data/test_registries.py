"""Data sets and augmentations of the user's own, by name beside the built-in ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import maam
from maam.core.errors import MaamError
from maam.data import load_dataset
from maam.data.augment import AUGMENTATIONS, Augmentation, augment, register_augmentation
from maam.data.base import ArraySplit, Dataset
from maam.data.sources import SOURCES, register_source
from maam.training.options import resolve


@pytest.fixture(autouse=True)
def _registries_as_they_were():
    sources, augmentations = set(SOURCES), set(AUGMENTATIONS)
    yield
    for name in SOURCES.keys() - sources:
        del SOURCES[name]
    for name in AUGMENTATIONS.keys() - augmentations:
        del AUGMENTATIONS[name]


def stripes(
    data_dir: Path | None,
    val_fraction: float,
    seed: int,
    progress: Callable[[int, int | None], None] | None = None,
) -> Dataset:
    """A data set that says how it was asked for."""
    if progress:
        progress(1, None)
    images = np.zeros((4, 8, 8, 1), np.uint8)
    split = ArraySplit(images, np.array([0, 1, 0, 1], np.int32), ("a", "b", "c", "d"))
    none = split.take(np.arange(0))
    return Dataset("stripes", f"{data_dir} {val_fraction} {seed}", ("x", "y"), split, none, split)


def test_a_data_set_of_ones_own_is_loaded_by_name(tmp_path):
    maam.register_source("stripes", stripes)
    told = []
    dataset = load_dataset(
        "stripes", tmp_path, None, 0.25, 7, progress=lambda *bytes_: told.append(bytes_)
    )
    assert dataset.source == f"{tmp_path} 0.25 7"
    assert told == [(1, None)]
    assert maam.describe("stripes").counts["train"] == {"x": 2, "y": 2}
    assert resolve({"data": "stripes"}).data == "stripes"  # and no path
    with pytest.raises(MaamError, match="`image_size` is for folders of images; stripes has"):
        load_dataset("stripes", image_size=16)
    with pytest.raises(MaamError, match="did you mean stripes"):
        load_dataset("stripe")


def test_a_data_set_may_be_a_module_that_is_imported_when_it_is_needed(monkeypatch):
    register_source("later", "maam_test_later")
    with pytest.raises(ModuleNotFoundError, match="maam_test_later"):
        load_dataset("later")
    module = ModuleType("maam_test_later")
    monkeypatch.setattr(module, "load", stripes, raising=False)
    monkeypatch.setitem(sys.modules, "maam_test_later", module)
    assert load_dataset("later").name == "stripes"


@pytest.mark.parametrize("name", ["cifar10", "digits", "fashion-mnist"])
def test_a_data_sets_name_is_taken_once(name):
    before = SOURCES[name]
    with pytest.raises(ValueError, match=f"a data set '{name}' already"):
        register_source(name, stripes)
    assert SOURCES[name] is before


def negative(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 255 - images


def test_an_augmentation_of_ones_own_is_used_by_name(rng):
    maam.register_augmentation("negative", negative)
    images = rng.integers(0, 256, (3, 4, 4, 3)).astype(np.uint8)
    assert np.array_equal(augment(images, Augmentation("negative"), rng), 255 - images)
    assert resolve({"augment": "negative"}).augment == "negative"


@pytest.mark.parametrize("name", ["none", "crop", "crop-flip", "trivial", "auto"])
def test_an_augmentations_name_is_taken_once(name):
    before = dict(AUGMENTATIONS)
    with pytest.raises(ValueError, match=f"an augmentation '{name}' already"):
        register_augmentation(name, negative)
    assert before == AUGMENTATIONS


def test_an_unknown_augmentation_is_an_error(rng):
    images = np.zeros((1, 4, 4, 1), np.uint8)
    for kind in ("negative", "auto"):
        with pytest.raises(KeyError, match=kind):
            augment(images, Augmentation(kind), rng)
    register_augmentation("negative", negative)
    with pytest.raises(MaamError) as caught:
        resolve({"augment": "negativ"})
    text = str(caught.value)
    assert text.startswith("`augment=negativ`: ") and "did you mean negative?" in text
    assert all(kind in text for kind in ("auto", *AUGMENTATIONS)) and "\n" not in text


@pytest.mark.parametrize("kind", ["none", "crop", "crop-flip", "trivial"])
@pytest.mark.parametrize("channels", [1, 3])
def test_built_in_kinds_leave_their_input_and_its_shape_alone(kind, channels, rng):
    images = rng.integers(0, 256, (5, 12, 9, channels)).astype(np.uint8)
    before = images.copy()
    changed = augment(images, Augmentation(kind), rng)
    assert np.array_equal(images, before)
    assert changed.shape == images.shape and changed.dtype == np.uint8
    assert np.array_equal(changed, images) == (kind == "none")
