"""MindSpore or PyTorch: which one computes, and what each must offer.

``maam.mindspore`` and ``maam.torch`` are the two ``Backend``s. Training, evaluation and deployment
call these functions on the module that ``use`` returns, and know nothing else about a framework.
A new framework is a package with them.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from maam.core.errors import MaamError
from maam.core.together import Together

if TYPE_CHECKING:
    import numpy as np

    from maam.core.config import TrainConfig
    from maam.core.footprint import Footprint
    from maam.core.run_meta import RunMeta

NAMES = {"mindspore": "MindSpore", "torch": "PyTorch"}
EXTRAS = {"mindspore": "train", "torch": "torch"}


@dataclass(frozen=True)
class Device:
    """Where a framework computes.

    Attributes:
        kind: ``CPU``, ``CUDA`` or ``Ascend``.
        name: of the accelerator, such as ``NVIDIA H100 80GB HBM3``; empty for a CPU.
    """

    kind: str
    name: str = ""


@dataclass(frozen=True)
class AgentMaps:
    """What each agent of one module adds to its output, for some images.

    Attributes:
        names: of the A agents.
        maps: float32 (N, A, h, w): the size of what an agent puts out, times its weight in the
            fusion: the root mean square over channels.
    """

    names: tuple[str, ...]
    maps: np.ndarray


@dataclass(frozen=True)
class ClassMaps:
    """Where the evidence for a class lies in some images.

    Attributes:
        logits: float32 (N, K).
        classes: int (N,): the class that each map is of.
        maps: float32 (N, h, w) on the grid of the network's last maps; None for a network
            without maps.
        exact: the maps are class-activation maps (Zhou et al. 2016, arXiv 1512.04150), which can be
            negative and whose mean is the logit without its bias; else Grad-CAM (Selvaraju et al.
            2017, arXiv 1610.02391), which is not negative.
        agents: of the last module with agents among those with the largest maps; None for a
            network without agents.
    """

    logits: np.ndarray
    classes: np.ndarray
    maps: np.ndarray | None
    exact: bool
    agents: AgentMaps | None


class Inference(Protocol):
    """What scoring takes of a framework; ONNX Runtime offers it too, for model.onnx."""

    def set_device(self, device: str, mode: str = "auto") -> Device:
        """Choose a device, and graph or eager mode, for all that follows."""
        ...

    def load_model(self, run: str | os.PathLike[str], model: Any = None) -> tuple[Any, RunMeta]:
        """The trained network of a run folder, for inference; ``model`` where it is one's own."""
        ...

    def compute_logits(
        self, net: Any, split: Any, preprocessing: Any, batch_size: int = 250
    ) -> np.ndarray:
        """The logits of a split, in order, in inference mode: float32 (N, K)."""
        ...


class Backend(Inference, Together, Protocol):
    """What a framework offers. Networks are its own: ``nn.Cell`` or ``nn.Module``."""

    def set_seed(self, seed: int) -> None:
        """Seed what draws initial weights."""
        ...

    def create_model(
        self, name: str, num_classes: int, in_channels: int, image_size: tuple[int, int]
    ) -> Any:
        """A freshly initialised network: (N, in_channels, H, W) -> logits (N, num_classes)."""
        ...

    def check_model(
        self, net: Any, num_classes: int, in_channels: int, image_size: tuple[int, int]
    ) -> Any:
        """A user's own network, if it maps (N, in_channels, H, W) to logits (N, num_classes)."""
        ...

    def get_weights(self, net: Any) -> dict[str, np.ndarray]:
        """Copies of all parameters and statistics, by their names in weight files."""
        ...

    def set_weights(self, net: Any, tensors: Mapping[str, np.ndarray], source: str) -> None:
        """Set all parameters and statistics."""
        ...

    def head_names(self, net: Any) -> set[str]:
        """The names, in weight files, of the last layer's parameters: the last in ``classifier``,
        or in a network without it."""
        ...

    def count_parameters(self, net: Any) -> int:
        """Number of values that are trained, or are frozen; statistics are not counted."""
        ...

    def count_macs(self, net: Any, image_shape: tuple[int, int, int]) -> int:
        """Multiply-accumulates of one image (C, H, W)."""
        ...

    def footprint(self, net: Any, meta: RunMeta) -> Footprint:
        """What a network needs on a microcontroller, as C in int8."""
        ...

    def native_operators(self, net: Any) -> bool:
        """Whether training this network uses operators of ours."""
        ...

    def freeze(self, net: Any, patterns: str) -> None:
        """Take the parameters that match out of training."""
        ...

    def time_step(
        self,
        net: Any,
        config: TrainConfig,
        num_classes: int,
        image_shape: tuple[int, int, int],
        steps: int = 4,
    ) -> float:
        """Median seconds of a training step of a copy of ``net`` on random images (C, H, W)."""
        ...

    def fit(self, run: Any) -> list[dict[str, Any]]:
        """Train a ``TrainingRun`` to its last epoch: one row an epoch."""
        ...

    def inference(self, net: Any) -> Callable[[np.ndarray], np.ndarray]:
        """A network in inference mode as a function: images float32 (N, C, H, W), normalised ->
        logits float32 (N, K).
        """
        ...

    def class_maps(
        self, net: Any, images: np.ndarray, preprocessing: Any, classes: np.ndarray | None = None
    ) -> ClassMaps:
        """Where the evidence for a class lies in images, uint8 (N, H, W, C), in inference mode.

        ``classes`` (N,) are the likeliest ones if not given.
        """
        ...

    def foldable(self, net: Any) -> list[str]:
        """What ``fuse`` folds of a network: path and class."""
        ...

    def fuse(self, net: Any) -> Any:
        """A folded copy of a network, for inference."""
        ...

    def export_onnx(
        self, net: Any, image_shape: tuple[int, int, int], path: Path, reference: Any = None
    ) -> float:
        """Write a bare network as ONNX, reload it and compare; the largest relative difference."""
        ...

    def export_model(
        self, net: Any, meta: RunMeta, images: np.ndarray, path: Path, reference: Any = None
    ) -> float:
        """Write the file of a run, reload it and compare; the largest relative difference."""
        ...

    def layer_outputs(self, net: Any, images: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """Name and output of each layer for normalised images (N, C, H, W), in order."""
        ...


def use(framework: str) -> Backend:
    """The named framework, checked to be installed.

    Raises:
        MaamError: it is not.
    """
    require_framework(framework)
    return cast(Backend, importlib.import_module(f"maam.{framework}"))


def use_for_inference(framework: str) -> Inference:
    """What scores: ``mindspore``, ``torch``, or ``onnx``: model.onnx in ONNX Runtime.

    Raises:
        MaamError: it is not installed.
    """
    if framework == "onnx":
        return cast(Inference, importlib.import_module("maam.deploy.runtime"))
    return use(framework)


def latencies(files: Mapping[str, Path]) -> dict[str, float]:
    """Milliseconds an image of ONNX files in ONNX Runtime, on one thread; measured in turns."""
    measured = importlib.import_module("maam.deploy.latency").measure(files)
    return {name: each["latency_ms"] for name, each in measured.items()}


def require_framework(framework: str, instead: str = "") -> None:
    """Check that a framework is installed and fits its NumPy.

    Args:
        framework: ``mindspore`` or ``torch``.
        instead: what does the same with the other one; else the option ``framework``.

    Raises:
        MaamError: it is missing, or NumPy is too new for MindSpore's wheels.
    """
    other = "torch" if framework == "mindspore" else "mindspore"
    if not installed(framework) and installed(other):
        raise MaamError(
            f"{framework} is not installed, but {other} is: use "
            f"{instead or f'`framework={other}`'}, or {install(EXTRAS[framework])}"
        )
    require("this", EXTRAS[framework], framework)
    numpy = metadata.version("numpy")
    if framework == "mindspore" and int(numpy.split(".")[0]) >= 2:
        raise MaamError(f"MindSpore needs NumPy 1, found {numpy}: pip install 'numpy<2'")


def require(what: str, extra: str, *packages: str) -> None:
    """Check that packages are installed.

    Args:
        what: needs them, for people.
        extra: of maam, that brings them.
        packages: their names on the package index.

    Raises:
        MaamError: one is missing.
    """
    for package in packages:
        if not installed(package):
            raise MaamError(
                f"{package} is not installed: {what} needs it: {install(extra)}, on Python 3.11 "
                "or 3.12"
            )


def install(extra: str) -> str:
    """The command that installs an extra of maam, of which there is no release yet."""
    return f"pip install '.[{extra}]' in a clone of maam"


def choose(wanted: str, trained_with: str = "mindspore") -> str:
    """``wanted``; for ``auto`` what trained the run, else the other one; MindSpore if neither."""
    if wanted != "auto":
        return wanted
    second = "torch" if trained_with == "mindspore" else "mindspore"
    return next((name for name in (trained_with, second) if installed(name)), "mindspore")


def installed(package: str) -> bool:
    """Whether a package is there; does not import it."""
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
