"""The package as imported: names, lightness, and the environment MindSpore needs."""

from __future__ import annotations

import os
import subprocess
import sys

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


def test_the_onednn_workaround_is_set_before_mindspore_and_yields_to_the_user():
    code = "import maam, os; print(os.environ['ONEDNN_MAX_CPU_ISA'])"
    assert python(code) == "AVX2"
    assert python(code, ONEDNN_MAX_CPU_ISA="AVX512_CORE") == "AVX512_CORE"
