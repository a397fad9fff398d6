"""From what a user names to the model that is measured."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.data.preprocessing import Preprocessing
from maam.deploy.classifier import Classifier
from maam.deploy.onnx import Network
from maam.deploy.runtimes.base import Model, Precision
from maam.models.weights import find_run


def find_model(named: str | os.PathLike[str]) -> Model:
    """A run folder, a shipped model, or an ONNX file, opened once to see that it is whole.

    Raises:
        MaamError: it is none of these, damaged or not finished.
    """
    name = os.fspath(named)
    if Path(name).is_file():
        return _file(name, Path(name))
    run = find_run(name)
    if not run.path.is_dir():
        raise MaamError(
            f"{name} does not exist: name a run folder, as `maam train` makes it, an ONNX file, or "
            "a model that comes with its weights"
        )
    classifier = Classifier.load(name)
    files: dict[Precision, Path] = {"float32": run.model}
    metas: dict[Precision, RunMeta | None] = {"float32": classifier.meta}
    if run.int8_model.is_file():
        files["int8"] = run.int8_model
        metas["int8"] = Network(run.int8_model).meta
    accuracies = _accuracies(metas)
    return Model(name, classifier.preprocessing, files, run, classifier.meta, accuracies)


def _accuracies(metas: Mapping[Precision, RunMeta | None]) -> dict[Precision, float]:
    """Precision -> the accuracy that its file, or its run, has recorded."""
    accuracies: dict[Precision, float] = {}
    for precision, meta in metas.items():
        if meta is not None and meta.metrics and "accuracy" in meta.metrics:
            accuracies[precision] = meta.metrics["accuracy"]
    return accuracies


def _file(name: str, path: Path) -> Model:
    """A file alone. In its run folder, what is known of the run is known of it."""
    network = Network(path)
    precision: Precision = "int8" if b"QuantizeLinear" in path.read_bytes() else "float32"
    files: dict[Precision, Path] = {precision: path}
    run = RunFolder(path.parent)
    if run.is_begun() and path.name in (run.model.name, run.int8_model.name):
        meta = run.read_meta()
        preprocessing = Preprocessing.from_dict(meta.preprocessing)
        accuracies = _accuracies({precision: meta if precision == "float32" else network.meta})
        return Model(name, preprocessing, files, run, meta, accuracies, alone=True)
    if network.meta is not None:
        preprocessing = Preprocessing.from_dict(network.meta.preprocessing)
        accuracies = _accuracies({precision: network.meta})
        return Model(name, preprocessing, files, RunFolder(path), network.meta, accuracies, True)
    sides = [side for side in network.image_shape if isinstance(side, int)]
    if len(sides) != 3:
        raise MaamError(f"{name} takes images of any size: name the run folder that it is of")
    channels, height, width = sides
    preprocessing = Preprocessing((height, width), channels, (0.0,) * channels, (1.0,) * channels)
    return Model(name, preprocessing, files, alone=True)
