"""A sample of random command lines; ``benchmarks/reliability.py`` runs more."""

from __future__ import annotations

import pytest
from hostile import encode, picture
from matrix_commands import command_lines

from maam.cli.app import run


def test_random_command_lines_end_in_a_line(tmp_path):
    counts = command_lines(tmp_path / "here", 25)
    assert not counts.failures, counts.examples
    assert counts.noticed > 10


@pytest.mark.parametrize(
    "arguments",
    [
        ["data", "digits", "--json"],
        ["data", "digits", "--html"],
        ["evaluate", "maamnet-nano", "--json"],
        ["quantize", "maamnet-nano", "--json"],
        ["prune", "maamnet-nano", "--json"],
        ["benchmark", "maamnet-nano", "--csv"],
        ["predict", "maamnet-nano", "cat.jpg", "--output"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("name", ["cat.jpg", "photos.zip", "mine.toml", "best.safetensors"])
def test_no_result_is_written_over_what_may_be_input(arguments, name, tmp_path, capsys):
    path = tmp_path / name
    content = encode(picture(), "JPEG")
    path.write_bytes(content)
    assert run([*arguments, str(path)]) == 2
    assert f"cannot write {path}: it is there" in capsys.readouterr().err
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["train", "digits", "--model", "mlp"], "--workers-per-node"),
        (["train", "digits", "--model", "mlp"], "--epochs"),
        (["data", "pack", "photos", "packed"], "--image-size"),
        (["predict", "maamnet-nano", "cat.jpg"], "--top-k"),
        (["explain", "maamnet-nano", "cat.jpg"], "--top-k"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_no_number_is_rounded(arguments, option, capsys):
    assert run([*arguments, option, "1.5"]) == 2
    error = capsys.readouterr().err
    assert option in error and "1.5" in error
    assert error.count("\n") == 1
