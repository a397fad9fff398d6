"""The rooms of the package: what lies at the top, and which way imports go."""

from __future__ import annotations

from pathlib import Path

import pytest
from draw_architecture import OUTPUT, ROWS, SOURCE, arrows, draw, graph, room

import maam

LEVEL = {name: row for row, rooms in enumerate(ROWS) for name in rooms}
FRAMEWORKS = {"mindspore", "torch"}


def test_the_top_of_the_package():
    entries = {path.name for path in SOURCE.iterdir() if path.name != "__pycache__"}
    assert entries == {"__init__.py", "__main__.py", "py.typed", *LEVEL}
    assert len(entries) <= 14


def test_every_room_says_what_it_is_for():
    for name in LEVEL:
        first = (SOURCE / name / "__init__.py").read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith('"""'), name


def test_imports_go_one_way():
    back = [pair for pair in arrows() if LEVEL[pair[1]] >= LEVEL[pair[0]]]
    assert back == []


def test_no_cycle():
    waiting = {
        name: {each for each in imports if room(each)} - {name} for name, imports in graph().items()
    }
    while ready := [name for name, imports in waiting.items() if not imports & waiting.keys()]:
        for name in ready:
            del waiting[name]
    assert not waiting


def test_a_framework_is_imported_in_its_own_room_only():
    for module, imports in graph().items():
        roots = {name.split(".")[0] for name in imports} & FRAMEWORKS
        assert roots <= {room(module)}, module
        rooms = {room(name) for name in imports} & FRAMEWORKS - {room(module)}
        assert not rooms or module == "maam", module


def test_only_the_command_line_imports_the_package_itself():
    for module, imports in graph().items():
        assert "maam" not in imports or room(module) == "cli" or module == "maam", module


def test_no_module_has_the_name_of_a_public_function():
    names = {name for name in maam.__all__ if name.islower()}
    modules = {name.rpartition(".")[2] for name in graph() if room(name) not in ("", "cli")}
    assert names & modules == set()


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.name)
def test_files_are_short(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_the_picture_is_drawn_from_these_imports():
    assert OUTPUT.read_text(encoding="utf-8") == draw(), "run `make docs`"
