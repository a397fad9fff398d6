"""What importing changes and what it does not; facts about the machine cost nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from maam.core import environment

PARSER = environment.PARSER
VARIABLES = (PARSER, "ONEDNN_MAX_CPU_ISA", "GLOG_v", "MS_OM_PATH", "MS_COMPILER_CACHE_PATH")


def run(code: str, cache: Path, **given: str) -> subprocess.CompletedProcess[str]:
    """``python -c CODE`` with an empty cache folder, and of MindSpore's variables only these."""
    variables = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    variables |= {"MAAM_CACHE": str(cache), **given}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=variables, timeout=120
    )


def printed(code: str, cache: Path, **given: str) -> str:
    """What it prints, if it ends well."""
    done = run(code, cache, **given)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def cache(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


def test_what_a_container_keeps_of_files_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr("maam.core.environment.CGROUP", tmp_path)
    whole = environment.free_memory()
    assert whole and whole > 10**6
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    assert environment.free_memory() == pytest.approx(whole, rel=0.5)
    (tmp_path / "memory.stat").write_text("anon 200000\ninactive_file 500000\nactive_file 100000\n")
    assert environment.free_memory() == 700_000
    (tmp_path / "memory.max").write_text("max\n")
    assert environment.free_memory() == pytest.approx(whole, rel=0.5)


FACTS = """
import sys
from maam.core.environment import environment
facts = environment()
assert facts["cpu"] and int(facts["threads"]) >= 1, facts
"""


def test_facts_need_no_framework_and_compile_nothing(cache):
    printed(FACTS + "assert not {'mindspore', 'torch', 'onnx'} & set(sys.modules)", cache)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("framework", ["mindspore", "torch"])
def test_facts_compile_nothing_where_a_framework_is(framework, cache):
    code = f"import {framework}, maam.{framework}\n{FACTS}print(facts['{framework}'])"
    version = printed(code, cache, **{PARSER: "python"})
    assert version.split("+")[0] == environment.environment()[framework].split("+")[0]
    assert list(cache.iterdir()) == []


def test_facts_name_what_is_there_and_what_is_not(monkeypatch):
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    facts = environment.environment()
    assert facts["numpy"][0].isdigit() and facts["no-such-package"] == "not installed"
    assert facts["threads"] == "3"
    assert all(isinstance(value, str) for value in facts.values())


UNCHANGED = """
import os
before = dict(os.environ)
import {module}
changed = {{key for key, value in os.environ.items() if before.get(key) != value}}
assert not changed and os.environ.keys() == before.keys(), changed
"""


@pytest.mark.parametrize("module", ["maam", "maam.cli.app", "maam.torch"])
def test_no_variable_is_set(module, cache):
    printed(UNCHANGED.format(module=module), cache)


def test_it_is_imported_where_users_have_no_numbers(cache):
    code = (
        "import os\ndel os.getuid\nimport maam\nfrom maam.core import environment\n"
        "assert 'maam' in maam.list_models()\nenvironment.prepare_mindspore()\n"
        "print(os.environ['MS_OM_PATH'])"
    )
    assert printed(code, cache) == str(Path(tempfile.gettempdir()) / "maam-mindspore-user")


SHOW = "import os, maam.mindspore\nprint(*(os.environ.get(key, '-') for key in {keys}), sep='|')"


def test_mindspore_finds_its_variables(cache):
    keys = [key for key in VARIABLES if key != "ONEDNN_MAX_CPU_ISA"]
    scratch = str(Path(tempfile.gettempdir()) / f"maam-mindspore-{os.getuid()}")
    expected = ["python", "3", scratch, scratch]
    assert printed(SHOW.format(keys=keys), cache).split("|") == expected
    mine = dict(zip(keys, ["python", "2", "/tmp/one", "/tmp/two"], strict=True))
    assert printed(SHOW.format(keys=keys), cache, **mine).split("|") == list(mine.values())


@pytest.mark.parametrize(("version", "limited"), [((2, 7), False), ((2, 9), True), ((), False)])
def test_onednn_is_limited_for_newer_mindspore_and_freed_for_pytorch(version, limited, monkeypatch):
    monkeypatch.setattr(environment, "mindspore_version", lambda: version)
    monkeypatch.setattr(environment, "_set_here", set())
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    environment.limit_onednn(True)
    assert os.environ.get("ONEDNN_MAX_CPU_ISA") == ("AVX2" if limited else None)
    environment.limit_onednn(False)
    assert "ONEDNN_MAX_CPU_ISA" not in os.environ
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")  # the user's own
    environment.limit_onednn(True)
    environment.limit_onednn(False)
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "SSE41"


REFUSED = """
import onnx
from maam.core.errors import MaamError
try:
    import maam.mindspore
except MaamError as error:
    print(error)
"""


@pytest.mark.skipif(
    environment.mindspore_version() > (2, 7), reason="newer MindSpore starts beside it"
)
def test_mindspore_is_not_started_beside_the_compiled_parser(cache):
    said = printed(REFUSED, cache)
    assert PARSER in said and "onnx" in said and len(said.splitlines()) == 1


@pytest.mark.slow
def test_mindspore_starts_beside_the_python_parser(cache):
    printed("import onnx, maam.mindspore, mindspore", cache, **{PARSER: "python"})
    printed("import maam.mindspore, onnx", cache)
