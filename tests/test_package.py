"""The package as imported: names, lightness, and the environment MindSpore needs."""

from __future__ import annotations

import importlib
import importlib.util
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


def test_public_verbs_are_functions_and_no_modules():
    for name in (
        "train",
        "evaluate",
        "predict",
        "explain",
        "benchmark",
        "describe",
        "doctor",
        "fuse",
        "reproduce",
    ):
        assert importlib.util.find_spec(f"maam.{name}") is None
        assert callable(getattr(maam, name))


def test_the_public_names_of_both_frameworks_exist():
    for framework in (importlib.import_module(f"maam.{name}") for name in ("mindspore", "torch")):
        for name in framework.__all__:
            assert callable(getattr(framework, name)), name
    assert maam.torch.__all__ == maam.mindspore.__all__


def test_the_onednn_workaround_is_set_where_it_helps_and_yields_to_the_user():
    code = (
        "import importlib.metadata as m, os\n"
        "versions = dict(mindspore='{}')\n"
        "real = m.version\n"
        "m.version = lambda name: versions.get(name) or real(name)\n"
        "from maam.core.environment import prepare_mindspore\n"
        "prepare_mindspore(); print(os.environ.get('ONEDNN_MAX_CPU_ISA'))"
    )
    assert python(code.format("2.10.0")) == "AVX2"
    assert python(code.format("2.10.0"), ONEDNN_MAX_CPU_ISA="AVX512_CORE") == "AVX512_CORE"
    assert python(code.format("2.7.0")) == "None"


def without(packages, code):
    """Run code where some packages are not installed: exit code, what was printed, and said."""
    block = (
        "import importlib.metadata as m, sys\n"
        f"missing = {packages!r}\n"
        "real = m.version\n"
        "def version(name):\n"
        "    if name in missing: raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
        "for name in missing: sys.modules[name.replace('scikit-learn', 'sklearn')] = None\n"
    )
    command = [sys.executable, "-c", block + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


REST = ("scikit-learn", "matplotlib", "onnx")


@pytest.mark.parametrize("missing", ["mindspore", "scikit-learn", "matplotlib", "onnx"])
def test_without_the_extra_training_says_what_to_install(missing):
    packages = (missing, "torch") if missing == "mindspore" else (missing,)
    code, printed, said = without(
        packages, "from maam.cli.app import run\nprint(run(['train', '--data', 'digits']))"
    )
    assert (code, printed) == (0, "2\n"), said
    assert f"{missing} is not installed" in said
    assert said.count("\n") == 1


def test_the_layer_asks_for_its_framework_alone():
    code = "import maam\nprint(maam.MAAM.__name__, maam.create_model.__name__)"
    assert without((*REST, "torch"), code)[:2] == (0, "MAAM create_model\n")
    code = "import maam.torch\nprint(maam.torch.MAAM.__name__)"
    assert without((*REST, "mindspore"), code)[:2] == (0, "MAAM\n")
    code, _, said = without(("mindspore", "torch"), "import maam\nmaam.MAAM")
    assert code == 1
    assert "MaamError: mindspore is not installed" in said


def test_listing_needs_nothing():
    code = "from maam.cli.app import run\nprint(run(['models', 'maamnet-*']))"
    code, printed, said = without((*REST, "mindspore", "torch", "onnxruntime"), code)
    assert (code, said) == (0, "")
    assert "maamnet-tiny" in printed
    assert "226,330" in printed
    assert printed.endswith("0\n")


def test_describing_data_needs_no_extra(tmp_path):
    code = "from maam.cli.app import run\nprint(run(['data', 'none']))"
    assert without((*REST, "mindspore", "torch", "onnxruntime"), code)[:2] == (0, "2\n")


def test_prediction_needs_no_extra():
    code = (
        "import sys\n"
        "for name in ('mindspore', 'sklearn', 'matplotlib', 'onnx', 'scipy', 'torch'):\n"
        "    sys.modules[name] = None\n"
        "import maam, maam.cli.app\n"
        "print(maam.predict.__name__, maam.cli.app.run(['predict', '--help']))"
    )
    assert python(code).endswith("predict 0")
