"""MindSpore and PyTorch: the folded network, in the framework that trains."""

from __future__ import annotations

import os

from maam.core import frameworks
from maam.deploy.runtimes.base import Model, Precision, Session
from maam.models.registry import is_registered


class TrainingFramework:
    """A run's best weights, folded, in inference mode.

    Args:
        name: ``mindspore`` or ``torch``.
    """

    precision: Precision = "float32"
    most_threads: int | None = None

    def __init__(self, name: str) -> None:
        self.title = frameworks.NAMES[name]
        self._name = name

    def unavailable(self) -> str:
        if frameworks.installed(self._name):
            return ""
        extra = frameworks.install(frameworks.EXTRAS[self._name])
        return f"{self._name} is not installed: {extra}"

    def lacks(self, model: Model) -> str:
        if model.alone or model.run is None or model.meta is None:
            return "a file, not a run folder"
        if model.meta.own:
            return "a network of one's own, which is not in the run folder"
        if is_registered(model.meta.model):
            return "a model that this program has registered: a new process does not know it"
        return "" if model.run.best.is_file() else f"it has no {model.run.best.name}"

    def start(self, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if hasattr(os, "sched_setaffinity"):  # MindSpore starts threads for all cores that it sees
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        frameworks.use(self._name).set_device("CPU")

    def load(self, model: Model, threads: int) -> Session:
        assert model.run is not None
        backend = frameworks.use(self._name)
        net, meta = backend.load_model(model.run.path)
        network = backend.inference(net if meta.fused else backend.fuse(net))
        return Session(model.preprocessing, network, model.run.best.stat().st_size)
