"""No pickle is loaded, no code of a file is run, and no network is used without being asked."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from matrix_security import verbs_alone

import maam

SOURCE = Path(maam.__file__).parent
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
NETWORK = {"socket", "http", "urllib", "ftplib", "requests", "asyncio", "smtplib", "ssl"}
ALLOWED_NETWORK = {
    "training/launch.py": {"socket"},  # a free port of this machine, for the launcher
    "data/files/downloads.py": {"http", "urllib"},
    "deploy/web/server.py": {"http"},  # `maam demo`, on this machine only
}
LOADERS = {
    *("torch.load", "ms.load", "ms.load_checkpoint", "mindspore.load_checkpoint"),
    *("joblib.load", "yaml.load", "pandas.read_pickle", "np.core.multiarray"),
}
RUN = {"eval", "exec", "compile", "__import__"}


def sources() -> list[tuple[str, ast.Module]]:
    paths = sorted(SOURCE.rglob("*.py"))
    assert len(paths) > 100
    return [
        (str(path.relative_to(SOURCE)), ast.parse(path.read_text(encoding="utf-8")))
        for path in paths
    ]


def imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_nothing_that_unpickles_is_imported_or_called() -> None:
    for name, tree in sources():
        assert not imported(tree) & MODULES, name
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            called = ast.unparse(call.func)
            assert called not in LOADERS, (name, called)
            assert called not in RUN, (name, called)
            for keyword in call.keywords:
                if keyword.arg in ("allow_pickle", "shell", "trust_remote_code"):
                    assert ast.unparse(keyword.value) == "False", (name, called)


def test_only_downloads_import_the_network() -> None:
    for name, tree in sources():
        extra = imported(tree) & NETWORK - ALLOWED_NETWORK.get(name.replace("\\", "/"), set())
        assert not extra, (name, extra)


@pytest.mark.parametrize("framework", ["torch", pytest.param("mindspore", marks=pytest.mark.slow)])
def test_verbs_unpickle_nothing_and_use_no_network(framework: str, tmp_path: Path) -> None:
    counts = verbs_alone(tmp_path / "here", framework)
    assert not counts.failures, counts.examples
    assert counts.fine == counts.cases
