"""Trainings on a person's own images: inside their folder, and what is told of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maam import MaamError, describe, evaluate, load_dataset, train
from maam.training.events import Note

QUICK = {"model": "mlp", "framework": "torch", "image_size": 8, "epochs": 1}


def plant(*folders: str) -> None:
    """Write eight distinct images into each folder of the working directory."""
    rng = np.random.default_rng(0)
    for folder in folders:
        Path(folder).mkdir(parents=True)
        for number in range(8):
            image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
            image.save(Path(folder, f"{number}.png"))


def test_a_run_inside_its_own_data_set_can_be_scored_resumed_and_repeated():
    plant("cat", "dog")
    first = train(data=".", **QUICK)
    assert first.run.parent.name == "runs"
    assert evaluate(first.run)["accuracy"] == first.scores["accuracy"]
    resumed = train(resume=first.run, epochs=2)
    assert len(resumed.history) == 2
    second = train(data=".", out="cat/mine", **QUICK)
    third = train(data=".", **QUICK)
    assert evaluate(second.run)["accuracy"] == evaluate(third.run)["accuracy"]
    assert describe(".", image_size=8).classes == ("cat", "dog")


def test_images_that_are_not_used_are_told():
    plant("train/cat", "train/dog", "test")
    told = []
    train(data=".", watch=told.append, **QUICK)
    notes = [event.text for event in told if isinstance(event, Note)]
    assert "files that are not used: 8 in test, which has no class folders" in notes


def test_an_empty_class_folder_stops_a_training_and_is_described():
    plant("cat", "dog")
    Path("bird").mkdir()
    message = r"^no images in .*bird \(no files\): put images in, or delete it$"
    with pytest.raises(MaamError, match=message):
        train(data=".", **QUICK)
    assert not Path("runs").exists()
    found = describe(".", image_size=8)
    assert found.classes == ("cat", "dog")
    (refusal,) = found.refusals
    assert refusal.startswith(f"no images in {Path('bird')} (no files)")


def test_a_named_data_set_beside_a_folder_of_its_name_says_which_it_is():
    plant("digits/cat", "digits/dog")
    (note,) = load_dataset("digits").notes
    assert note == "digits is the data set of that name, not the one here: for that give ./digits"
    assert note in describe("digits").advice
    folder = load_dataset("./digits")
    assert (folder.classes, folder.notes) == (("cat", "dog"), ())
    told = []
    train(data="digits", limit=64, watch=told.append, model="mlp", framework="torch", epochs=1)
    assert Note(note) in told
    told = []
    train(data="./digits", watch=told.append, **QUICK)
    assert not [event for event in told if isinstance(event, Note) and "digits" in event.text]
