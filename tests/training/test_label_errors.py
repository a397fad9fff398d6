from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import maam
from maam.cli.data import show
from maam.core.errors import MaamError
from maam.data import load_dataset
from maam.training.label_errors import LabelError, doubt

pytest.importorskip("sklearn")
pytest.importorskip("torch")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """The digits as files; 5 % of them lie in the folder of another digit."""
    root = tmp_path_factory.mktemp("digits")
    images = load_dataset("digits").all
    rng = np.random.default_rng(0)
    wrong = set(rng.choice(len(images), round(0.05 * len(images)), replace=False).tolist())
    moved = set()
    for number, (pixels, label) in enumerate(zip(images.pixels(), images.labels, strict=True)):
        if number in wrong:
            label = (label + rng.integers(1, 10)) % 10
        path = root / str(label) / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(path)
        if number in wrong:
            moved.add(str(path))
    return root, moved


def test_most_wrong_labels_are_found(digits: tuple[Path, set[str]]) -> None:
    root, wrong = digits
    calls: list[tuple[int, int]] = []
    found = maam.find_label_errors(
        str(root), image_size=8, framework="torch", progress=lambda *call: calls.append(call)
    )
    names = {each.name for each in found}
    assert len(names) == len(found)
    assert len(names & wrong) >= 0.7 * len(wrong)
    assert len(names - wrong) <= 0.02 * 1797
    assert calls == sorted(calls)
    assert {total for _, total in calls} == {1797} == {calls[-1][0]}
    right = load_dataset(str(root), None, 8)
    for each in found:
        assert Path(each.name).parent.name == each.label != each.suggestion
        assert each.probability < 0.05
        assert each.name in getattr(right, each.split).names
    assert [each.probability for each in found] == sorted(each.probability for each in found)


def test_classes_too_small_to_tell_are_left_out(
    digits: tuple[Path, set[str]], tmp_path: Path
) -> None:
    root, _ = digits
    for label, count in (("1", 30), ("4", 30), ("7", 3)):
        (tmp_path / label).mkdir()
        for path in sorted((root / label).iterdir())[:count]:
            shutil.copy(path, tmp_path / label)
    found = maam.find_label_errors(str(tmp_path), image_size=8, framework="torch")
    assert {each.label for each in found} | {each.suggestion for each in found} <= {"1", "4"}
    shutil.rmtree(tmp_path / "4")
    with pytest.raises(MaamError, match="classes of 5 images or more, and 1 have so many"):
        maam.find_label_errors(str(tmp_path), image_size=8, framework="torch")


def test_a_label_is_in_doubt_when_another_is_as_likely_as_usual() -> None:
    probabilities = np.array(
        [[0.9, 0.1], [0.8, 0.2], [0.01, 0.99], [0.04, 0.96], [0.3, 0.7], [0.02, 0.98]]
    )
    labels = np.array([0, 0, 1, 0, 1, 0])
    positions, suggested = doubt(probabilities, labels)
    assert positions == [5, 3]
    assert suggested[positions].tolist() == [1, 1]


def test_images_with_wrong_labels_are_not_called_ready(tmp_path: Path, capsys) -> None:
    rng = np.random.default_rng(0)
    for label in ("0", "1"):
        (tmp_path / label).mkdir()
        for number in range(100):
            pixels = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
    wrong = LabelError(str(tmp_path / "0" / "3.png"), "train", "0", 0.01, "1", 0.98)
    for doubtful, verdict in (
        ((), "nothing stands out: ready to train"),
        ((wrong,), "training would take these images"),
    ):
        show(maam.describe(str(tmp_path)), doubtful)
        assert capsys.readouterr().out.splitlines()[-1] == verdict
