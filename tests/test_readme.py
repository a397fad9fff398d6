"""The README does what it says: every verb is in it, every command parses, the ``sh`` and
``python`` blocks run, in order, in one folder.
"""

from __future__ import annotations

import json
import pkgutil
import re
import shlex
from pathlib import Path

import framework_page
import pytest
import step_profile
from PIL import Image

from maam.cli.app import app, run
from maam.deploy.costs import stored_costs
from maam.models import describe_model
from maam.models.weights import find_run, shipped
from maam.paper import page

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    (language, shlex.split(line, comments=True)[1:])
    for language, text in BLOCKS
    for line in text.splitlines()
    if line.startswith("maam ")
]


def photos(folder: Path) -> None:
    """Two classes that differ in brightness."""
    for name, shade in (("cat", 40), ("dog", 200)):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            colour = (shade, shade + number, shade)
            Image.new("RGB", (40, 30 + number), colour).save(folder / name / f"{number}.png")


def test_every_verb_is_in_the_readme():
    for name in app:
        if not name.startswith("-"):
            assert f"| `maam {name}` |" in README


@pytest.mark.parametrize(("language", "tokens"), COMMANDS, ids=lambda value: str(value))
def test_every_command_parses(language, tokens):
    app.parse_args(tokens, exit_on_error=False, print_error=False)


def quicker(tokens: list[str]) -> list[str]:
    """The same command with a quarter of its minutes: that they are kept is tested elsewhere."""
    pairs = zip(["", *tokens], tokens, strict=False)
    return [str(float(each) / 4) if before == "--minutes" else each for before, each in pairs]


@pytest.mark.slow
def test_the_commands_and_programs_run_in_order(tmp_path, capsys):
    photos(tmp_path / "photos")
    for language, tokens in COMMANDS:
        if language == "sh":
            assert run(quicker(tokens)) == 0, (tokens, capsys.readouterr().err)
    programs = [text for language, text in BLOCKS if language == "python"]
    assert len(programs) == 3
    for program in programs:
        exec(compile(program, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "(1, 64, 16, 15)" in printed
    assert "torch.Size([1, 64, 8, 7])" in printed
    assert "photos/cat/1.png ('" in printed


def test_make_targets_that_the_readme_names_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make (\w+)`?", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_files_that_the_readme_names_exist():
    assert not re.search(r"[A-Z]+_TABLE", README)
    for name in re.findall(r"\b(?:recipes|results|benchmarks|src/maam)/[\w./-]+\w", README):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\(([\w/.-]+)\)", README):
        assert (ROOT / name).exists(), name


def result(name: str) -> dict:
    return json.loads((ROOT / "results" / name).read_text())


def page_of(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def test_the_table_of_models_has_the_results():
    measured = set()
    for row in result("peers.json")["rows"]:
        spread = "" if row["deviation"] is None else f" ± {row['deviation']:.2f}"
        cost = f"{row['parameters']:,} | {row['macs'] / 1e6:.1f} M | {row['latency_ms']:.2f} ms"
        measured.add((cost, f"{row['accuracy']:.2f}{spread} %"))
    rows = re.findall(
        r"^\| \[.*\) \| ([\d,]+ \| [\d.]+ M \| [\d.]+ ms) \| .* \| ([\d.± ]+ %) \|$", README, re.M
    )
    assert 5 <= len(rows) <= 8
    assert set(rows) <= measured


def test_the_page_of_models_has_the_stored_costs():
    text = page_of("models")
    for name, cost in stored_costs().items():
        counts = f"{cost.parameters:,} | {cost.deployed:,} | {cost.macs / 1e6:,.1f}"
        assert f"| `{name}` | {counts} | {describe_model(name)} |" in text


def test_the_page_of_models_has_the_shipped_scores_and_sizes():
    text = page_of("models")
    for name in shipped():
        run = find_run(name)
        accuracy = 100 * (run.read_meta().metrics or {})["accuracy"]
        size = run.model.stat().st_size / 1e6
        assert re.search(rf"\| `{name}` \| {accuracy:.2f} % \| \d \| {size:.2f} MB \|", text)
        assert f"`model.onnx` | {accuracy:.2f} % |" in run.card.read_text(encoding="utf-8")


def test_the_tables_of_steps_have_the_results():
    text = page_of("speed")
    assert framework_page.table(result("framework_speed.json")) in text
    assert step_profile.table(result("step_profile.json")) in text


def test_the_reproduction_is_the_one_in_the_results():
    report = result("reproduce.json")
    assert page.outcome(report) in README
    text = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
    assert text == page.markdown(report)
    for name in re.findall(r"\]\((reproduction/[\w.]+)\)", text):
        assert (ROOT / "docs" / name).exists(), name
    assert report["command"] in README


def test_every_name_in_the_api_pages_is_there():
    pages = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("docs/api/*.md"))
    names = re.findall(r"^::: (maam[\w.]+)$", pages, re.M)
    assert len(names) > 20
    for name in names:
        assert pkgutil.resolve_name(name), name
