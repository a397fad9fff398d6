"""The package as imported: names, lightness, and the environment MindSpore needs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import maam

FRAMEWORKS = ("mindspore", "torch", "sklearn", "matplotlib", "onnx", "onnxruntime", "numpy")


def python(code: str, **environment: str) -> str:
    clean = {key: value for key, value in os.environ.items() if key != "ONEDNN_MAX_CPU_ISA"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**clean, **environment},
    )
    return done.stdout.strip()


def test_import_maam_imports_no_framework():
    code = f"import sys, maam; print([m for m in {FRAMEWORKS} if m in sys.modules])"
    assert python(code) == "[]"


def test_the_command_line_starts_without_a_framework():
    code = (
        "import sys, maam.cli; "
        "print([m for m in ('mindspore', 'sklearn', 'matplotlib', 'onnx') if m in sys.modules])"
    )
    assert python(code) == "[]"


def test_every_public_name_exists():
    for name in maam.__all__:
        assert callable(getattr(maam, name)), name
    assert set(maam.__all__) <= set(dir(maam))
    try:
        maam.nothing  # noqa: B018
    except AttributeError as error:
        assert "nothing" in str(error)
    else:
        raise AssertionError("an unknown name must not resolve")


def test_verbs_stay_functions_when_their_modules_are_imported():
    code = (
        "import maam, maam.predict, maam.checkpoint, maam.config\n"
        "from maam.predict import Classifier\n"
        "print(type(maam.predict).__name__, type(maam.checkpoint).__name__)"
    )
    assert python(code) == "function module"


def test_the_onednn_workaround_is_set_where_it_helps_and_yields_to_the_user():
    code = (
        "import importlib.metadata as m, os\n"
        "versions = dict(mindspore='{}')\n"
        "real = m.version\n"
        "m.version = lambda name: versions.get(name) or real(name)\n"
        "import maam; print(os.environ.get('ONEDNN_MAX_CPU_ISA'))"
    )
    assert python(code.format("2.10.0")) == "AVX2"
    assert python(code.format("2.10.0"), ONEDNN_MAX_CPU_ISA="AVX512_CORE") == "AVX512_CORE"
    assert python(code.format("2.7.0")) == "None"


@pytest.mark.parametrize("missing", ["mindspore", "scikit-learn", "matplotlib", "onnx"])
@pytest.mark.parametrize("verb", ["train", "models"])
def test_without_the_extra_training_says_what_to_install(missing, verb):
    code = (
        "import importlib.metadata as m, sys\n"
        "real = m.version\n"
        "def version(name):\n"
        f"    if name in ({missing!r}, 'torch'): raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
        f"sys.modules[{missing.replace('scikit-learn', 'sklearn')!r}] = None\n"
        "from maam.cli import run\n"
        f"print(run([{verb!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2"
    assert f"{missing} is not installed" in done.stderr


def test_prediction_needs_no_extra():
    code = (
        "import sys\n"
        "for name in ('mindspore', 'sklearn', 'matplotlib', 'onnx', 'scipy', 'torch'):\n"
        "    sys.modules[name] = None\n"
        "import maam, maam.cli\n"
        "print(maam.predict.__name__, maam.cli.run(['predict', '--help']))"
    )
    assert python(code).endswith("predict 0")
