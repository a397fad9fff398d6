"""The licences that `make audit` lets pass."""

from __future__ import annotations

import audit
import pytest
from audit import EXTRAS, installed, is_permissive, not_permissive


@pytest.mark.parametrize(
    ("text", "permissive"),
    [
        ("MIT", True),
        ("Apache Software License", True),
        ("BSD-3-Clause AND MIT", True),
        ("GPL-3.0-only OR BSD-2-Clause", True),
        ("MIT-CMU", True),
        ("GPL-3.0-only", False),
        ("BSD-3-Clause AND LGPL-2.1", False),
        ("Other/Proprietary License", False),
        ("UNKNOWN", False),
        ("", False),
    ],
)
def test_permissive_licences(text: str, permissive: bool) -> None:
    assert is_permissive(text) is permissive


def test_what_is_installed_here_is_permissive() -> None:
    packages = installed("maam", EXTRAS)
    assert {"maam", "numpy", "pillow", "pydantic-core", "mdurl"} <= packages.keys()
    assert not list(not_permissive(packages))


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--require"], 1)])
def test_an_unreachable_database_fails_where_it_is_required(
    arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(audit, "vulnerabilities", lambda packages: ([], list(packages)))
    assert audit.main(arguments) == code
    told = capsys.readouterr().out
    assert "none could be checked" in told
    assert ("FAILED" in told) == bool(code)
