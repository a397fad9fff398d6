"""``--fit-ram`` and ``--fit-flash``: what a microcontroller does not hold is not trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import maam
from maam.cli.app import run
from maam.core.errors import MaamError
from maam.core.recipes import read_recipe
from maam.training.events import Choices


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """24 images of 70 pixels a side, of two classes."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    rng = np.random.default_rng(0)
    for name in ("dark", "light"):
        (folder / name).mkdir(parents=True)
        for index in range(12):
            pixels = rng.integers(0, 100, (70, 70, 3)).astype(np.uint8) + 100 * (name == "light")
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index}.png")
    return folder


def refusal(out, **options) -> str:
    with pytest.raises(MaamError) as caught:
        maam.train(framework="torch", out=out, **options)
    assert not out.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_smaller_model_is_named(photos, tmp_path):
    told = refusal(
        tmp_path / "run", data=str(photos), model="maamnet-tiny", fit_ram="64k", fit_flash="128k"
    )
    assert told.startswith("`fit_ram=64k` and `fit_flash=128k`: maamnet-tiny needs ")
    assert "for images of 32x32: `model=maamnet-nano` fits (" in told


def test_a_smaller_size_is_named(photos, tmp_path):
    told = refusal(
        tmp_path / "run", data=str(photos), model="maamnet-nano", image_size=64, fit_ram="41k"
    )
    assert told.startswith("`fit_ram=41k`: maamnet-nano needs ")
    assert told.endswith(": `model=maamnet-nano` with `image_size=48` fits")


def test_a_named_data_set_has_its_own_size(tmp_path):
    told = refusal(tmp_path / "run", data="digits", model="maamnet-nano", fit_flash="32k")
    assert ": no model of `maam models` needs less; narrower ones have names such as" in told
    assert told.endswith("`model=maamnet-8x1-16x1`")


@pytest.mark.parametrize("model", ["resnet8", "mlp", "maam-concat"])
def test_models_without_c_are_refused(tmp_path, model):
    told = refusal(tmp_path / "run", data="digits", model=model, fit_ram="1M")
    assert told.startswith(f"`fit_ram=1M`: the layers of {model} are not known one by one")


def test_the_paper_s_model_is_told_of_smaller_ones(photos, tmp_path):
    told = refusal(tmp_path / "run", data=str(photos), model="maam", image_size=16, fit_flash="1M")
    assert told.startswith("`fit_flash=1M`: maam needs ")
    assert ": `model=maamnet-small` fits (" in told and "image_size" not in told


def test_a_network_of_ones_own_is_refused(tmp_path):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    told = refusal(tmp_path / "run", data="digits", model=net, fit_ram="1M")
    assert told.startswith("`fit_ram=1M`: the layers of Sequential (own) are not known")


def test_a_bad_size_is_refused_before_the_images_are_looked_at(tmp_path, capsys):
    assert run(["train", str(tmp_path / "none"), "--fit-flash", "128kb"]) == 2
    told = capsys.readouterr().err
    assert told == "maam: --fit-flash 128kb is no size: give bytes, such as 65536, 64k or 1M\n"


@pytest.mark.parametrize("value", [True, 1.5, [1], "64k b", "64kb", 0])
def test_a_bad_size_in_python(tmp_path, value):
    told = refusal(tmp_path / "run", data="digits", model="maamnet-nano", fit_ram=value)
    assert told.startswith(("`fit_ram`: Input should be a valid string", "`fit_ram="))


def test_the_plan_chooses_among_what_fits(photos, tmp_path):
    events = []
    result = maam.train(
        data=str(photos),
        minutes=1,
        epochs=1,
        fit_ram=42_000,
        fit_flash="128k",
        framework="torch",
        out=tmp_path / "run",
        watch=events.append,
    )
    (choices,) = (event for event in events if isinstance(event, Choices))
    chosen = {choice.option: choice for choice in choices.choices}
    assert (chosen["model"].value, chosen["image_size"].value) == ("maamnet-nano", 48)
    assert "maamnet-tiny needs" in chosen["model"].reason
    assert "more than `fit_flash`; maamnet-nano needs" in chosen["model"].reason
    assert "for 64 pixels a side maamnet-nano needs" in chosen["image_size"].reason
    assert "--fit-ram 42000 --fit-flash 128k" in choices.command
    kept = read_recipe(result.run / "config.toml")
    assert (kept["fit_ram"], kept["fit_flash"]) == ("42000", "128k")
    assert "On a microcontroller, C in int8" in (result.run / "report.html").read_text()


def test_a_plan_of_a_named_model_that_does_not_fit_is_refused(photos, tmp_path):
    told = refusal(
        tmp_path / "run", data=str(photos), model="maamnet-base", minutes=1, fit_flash="64k"
    )
    assert told.startswith("`fit_flash=64k`: maamnet-base needs ")
    assert "no model of `maam models` needs less" in told
