"""One schema: defaults, recipes, Python and flags agree, and mistakes are explained."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maam import MaamError
from maam.core import frameworks
from maam.core.config import EvaluateConfig, TrainConfig, make_config
from maam.core.recipes import read_recipe, to_toml
from maam.core.run_folder import RunFolder
from maam.training.options import resolve

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_opens_with_its_command(path):
    assert make_config(TrainConfig, read_recipe(path))
    assert f"#   maam train --recipe {path.relative_to(ROOT)}" in path.read_text()


@settings(max_examples=50, deadline=None)
@given(
    data=st.text(st.characters(exclude_characters="\0"), min_size=1),
    out=st.none() | st.sampled_from(["a b", 'quo"te', "back\\slash", "ümläut"]).map(Path),
    rate=st.floats(1e-8, 10),
    size=st.none() | st.integers(8, 512),
)
def test_toml_gives_back_the_same_config(tmp_path_factory, data, out, rate, size):
    if any(0xD800 <= ord(char) < 0xE000 for char in data):
        return  # TOML is UTF-8
    config = TrainConfig(data=data, out=out, learning_rate=rate, image_size=size)
    path = tmp_path_factory.mktemp("toml") / "config.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert TrainConfig(**read_recipe(path)) == config


def test_given_options_override_the_recipe(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text("epochs = 3\nseed = 5\n")
    config = resolve({"epochs": 4}, recipe)
    assert (config.epochs, config.seed, config.batch_size) == (4, 5, 64)


def test_a_resumed_run_keeps_its_options(tmp_path):
    options = RunFolder(tmp_path).config
    options.write_text("epochs = 3\nseed = 5\n")
    assert resolve({"epochs": 9}, run=tmp_path).epochs == 9
    assert resolve({"seed": 5, "batch_size": 64}, run=tmp_path).seed == 5  # no change
    with pytest.raises(MaamError, match="`resume` can't change `seed`"):
        resolve({"seed": 6}, run=tmp_path)
    with pytest.raises(MaamError, match="leave `recipe` out"):
        resolve({}, recipe=options, run=tmp_path)
    with pytest.raises(MaamError, match="not a run folder"):
        resolve({}, run=tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epohs = 3", "unknown option 'epohs': did you mean epochs"),
        ("zzzzzzzzz = 3", "unknown option 'zzzzzzzzz': see"),
        ("epochs = 0", "epochs: .*greater than or equal to 1"),
        ("epochs = true", "epochs is neither true nor false"),
        ("epochs = ", "is not TOML"),
        ("data = " + "[" * 5000, "is not TOML"),
        ('out = "a\\u0000b"', "out has a null character"),
        ("[train]\nepochs = 3", "unknown option 'train'"),
    ],
)
def test_a_bad_recipe_names_the_file_and_the_key(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(MaamError, match=message) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer = 'lion'", "`optimizer=lion`: .* There are .*adam"),
        ("augment = 'crop_flip'", "`augment=crop_flip`: .*did you mean crop-flip.*trivial"),
        ("model = 'mam'", "no model is called 'mam': did you mean maam"),
    ],
)
def test_a_bad_name_is_answered_with_those_there_are(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(MaamError, match=message) as caught:
        resolve({}, path)
    assert "\n" not in str(caught.value)


def test_a_recipe_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.toml").write_bytes(b"data = '\xe9'")
    for path in (tmp_path / "none.toml", tmp_path, tmp_path / "latin.toml"):
        with pytest.raises(MaamError, match="cannot read the recipe"):
            read_recipe(path)


def test_python_options_are_checked_alike():
    with pytest.raises(MaamError, match="did you mean `split`"):
        make_config(EvaluateConfig, {"splitt": "test"})
    with pytest.raises(MaamError, match="ema"):
        make_config(TrainConfig, {"ema": 1.0})


@pytest.mark.parametrize("key", ["learning_rate", "warmup_epochs", "weight_decay", "clip_norm"])
def test_options_are_finite(key):
    with pytest.raises(MaamError, match=key):
        make_config(TrainConfig, {key: float("inf")})


def test_paths_to_images_hold_in_any_working_directory(tmp_path):
    (tmp_path / "digits").mkdir()  # a data set's name wins over a folder's
    assert resolve({"data": "digits"}).data == "digits"
    assert resolve({"data": "pets"}).data == str(tmp_path / "pets")
    assert resolve({"data": "cifar10", "data_dir": "x"}).data_dir == tmp_path / "x"


def test_every_option_has_help():
    for name, field in TrainConfig.model_fields.items():
        assert field.description, name


@pytest.mark.parametrize(("missing", "used"), [("mindspore", "torch"), ("torch", "mindspore")])
def test_what_is_installed_computes(missing, used, monkeypatch, tmp_path):
    installed = frameworks.installed
    monkeypatch.setattr(frameworks, "installed", lambda name: name != missing and installed(name))
    config = resolve({"data": "digits"})
    assert config.framework == used
    RunFolder(tmp_path).config.write_text(to_toml(config))
    monkeypatch.undo()
    assert resolve({}, run=tmp_path).framework == used  # a run keeps what it began with
