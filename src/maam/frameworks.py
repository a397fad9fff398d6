"""MindSpore or PyTorch: which one computes, and whether all it needs is installed.

``maam.mindspore`` and ``maam.torch`` offer the same functions: ``set_device``, ``set_seed``,
``create_model``, ``load_model``, ``get_weights``, ``set_weights``, ``count_parameters``,
``count_macs``, ``freeze``, ``fit``, ``compute_logits``, ``fuse`` and ``export_onnx``. Training,
evaluation and the end of a run call them on the module that ``use`` returns, and know nothing else
about a framework.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from types import ModuleType

from maam.errors import MaamError

_SCORES_AND_PLOTS = ("scikit-learn", "matplotlib", "onnx")
NEEDS = {
    "mindspore": ("mindspore", *_SCORES_AND_PLOTS),
    "torch": ("torch", *_SCORES_AND_PLOTS, "onnxscript"),
}
EXTRAS = {"mindspore": "train", "torch": "torch"}
NAMES = {"mindspore": "MindSpore", "torch": "PyTorch"}


def require(framework: str, instead: str = "") -> None:
    """Check that all that training with a framework needs is installed.

    Args:
        framework: ``mindspore`` or ``torch``.
        instead: what does the same with the other one; else the option ``--framework``.

    Raises:
        MaamError: a package is missing, or NumPy is too new for MindSpore's wheels.
    """
    extra = EXTRAS[framework]
    for package in NEEDS[framework]:
        if not _installed(package):
            other = "torch" if framework == "mindspore" else "mindspore"
            if package == framework and _installed(other):
                raise MaamError(
                    f"{package} is not installed, but {other} is: use "
                    f"{instead or f'--framework {other}'}, or "
                    f"pip install 'maam[{extra}]'"
                )
            raise MaamError(
                f"{package} is not installed: training and evaluation need the extra [{extra}], "
                f"e.g. pip install 'maam[{extra}]', on Python 3.11 or 3.12"
            )
    numpy = metadata.version("numpy")
    if framework == "mindspore" and int(numpy.split(".")[0]) >= 2:
        raise MaamError(f"MindSpore needs NumPy 1, found {numpy}: pip install 'numpy<2'")


def use(framework: str) -> ModuleType:
    """The named framework's functions, checked to be installed.

    Raises:
        MaamError: something that it needs is not.
    """
    require(framework)
    return importlib.import_module(f"maam.{framework}")


def choose(wanted: str, trained_with: str = "mindspore") -> str:
    """``wanted``; for ``auto`` what trained the run, or the other one where that is missing."""
    if wanted != "auto":
        return wanted
    first, second = trained_with, "torch" if trained_with == "mindspore" else "mindspore"
    return second if _installed(second) and not _installed(first) else first


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
