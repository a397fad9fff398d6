"""maam explain: maps of images, pictures of them, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import maam
from maam.cli.app import run


@pytest.fixture
def photo(tmp_path, rng):
    pixels = rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)
    path = tmp_path / "photo <1>.png"
    Image.fromarray(pixels).save(path)
    return path


def test_the_answer_is_that_of_predict_and_the_frameworks_agree(photo):
    [answer] = maam.explain("maamnet-nano", photo, top_k=10, framework="torch")
    [known] = maam.predict("maamnet-nano", photo, top_k=10)
    assert answer.file == str(photo)
    assert answer.classes == known.classes
    np.testing.assert_allclose(answer.probabilities, known.probabilities, atol=1e-3)
    assert answer.exact and answer.evidence is not None and answer.agents is not None
    assert answer.evidence.shape == (8, 8) and answer.agents.shape == (4, 32, 32)
    assert answer.agents.min() >= 0 and len(answer.agent_names) == 4
    [second] = maam.explain("maamnet-nano", photo, framework="mindspore")
    assert second.evidence is not None
    np.testing.assert_allclose(second.evidence, answer.evidence, atol=1e-3)
    assert answer.picture is not None and answer.picture.size == (90, 60)
    assert answer.seen == pytest.approx((1 / 6, 0, 5 / 6, 1))


def test_images_in_memory_and_unreadable_ones(photo):
    pixels = np.full((32, 32, 3), 200, np.uint8)
    answers = list(maam.explain("maamnet-nano", [pixels, "gone.png", photo], framework="torch"))
    assert [answer.file for answer in answers] == ["inputs[0]", "gone.png", str(photo)]
    assert [answer.error for answer in answers] == [None, "No such file or directory", None]
    assert answers[1].picture is None and answers[1].classes == ()


def test_the_verb_draws_pictures_that_take_no_place(photo, tmp_path, capsys):
    arguments = ["explain", "maamnet-nano", str(photo), "--framework", "torch", "--top-k", "2"]
    assert run(arguments) == 0
    first = (tmp_path / "explain" / "photo <1>.png").read_bytes()
    assert run([*arguments, "gone.png"]) == 1
    assert {path.name for path in (tmp_path / "explain").iterdir()} == {
        ".maam",  # no images to train on
        "photo <1>.png",
        "photo <1>-2.png",
    }
    assert (tmp_path / "explain" / "photo <1>.png").read_bytes() == first
    with Image.open(tmp_path / "explain" / "photo <1>-2.png") as picture:
        assert picture.width > picture.height > 200
    said = capsys.readouterr()
    assert "%, " in said.out and "photo <1>-2.png" in said.out
    assert said.err == "maam: gone.png: No such file or directory\n"


@pytest.mark.parametrize("model", ["mlp", "rnn"])
def test_a_network_without_maps_says_so(model, tmp_path, capsys):
    maam.train(
        data="digits", model=model, framework="torch", limit=100, epochs=1, out=tmp_path / "run"
    )
    assert "has no maps" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    Image.new("RGB", (9, 9)).save("x.png")
    assert run(["explain", "run", "x.png"]) == 2
    said = capsys.readouterr().err
    assert f"run holds {model}, a network without maps of the image" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "explain").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no images given"),
        (("maamnet-nano",), "no images given"),
        (("nothing", "x.png"), "nothing does not exist"),
        (("maamnet-nano", "x.png", "--top-k", "0"), "--top-k must be 1 or more"),
        (("maamnet-nano", "x.png", "--out", "x.png", "--framework", "torch"), "x.png"),
    ],
)
def test_bad_input_is_one_line(arguments, said, capsys):
    Image.new("RGB", (9, 9)).save("x.png")
    assert run(["explain", *arguments]) == 2
    errors = capsys.readouterr().err
    assert said in errors and errors.count("\n") == 1
