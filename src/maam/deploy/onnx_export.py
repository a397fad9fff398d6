"""The file of a run, again: copied where the run has it, else written from its weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from maam.core import frameworks
from maam.core.errors import MaamError
from maam.core.files import atomic_path, make_folder, write_atomic
from maam.core.frameworks import Backend
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.core.tensors import load_tensors
from maam.data import load_dataset
from maam.data.sources import SOURCES
from maam.data.splits import spread
from maam.deploy.classifier import Classifier
from maam.deploy.int8_onnx import export_int8
from maam.deploy.onnx import Network
from maam.deploy.onnx_writing import IMAGES, golden_path


def export_onnx_file(run: RunFolder, out: Path, precision: str) -> dict[str, str]:
    """Write the file of a run as ``out``, and its golden images beside it.

    Needs a framework only for a run that an older version has finished.

    Raises:
        MaamError: the run is damaged or not quantised, the file can't be written, or there is one
            where its golden images belong.
    """
    make_folder(out.absolute().parent)
    if os.path.lexists(golden_path(out)):
        raise MaamError(f"{golden_path(out)} exists already: name another file with `out`")
    if precision == "int8":
        export_int8(run, out)
        return _figures(out)
    meta = run.read_meta()
    if not run.model.exists() or not Network(run.model).whole:
        backend = frameworks.use(frameworks.choose("auto", meta.framework))
        backend.set_device("CPU")
        net, meta = backend.load_model(run.path)
        images = real_images(meta)
        backend.export_model(backend.fuse(net), meta, images, out, net)
    else:
        Classifier.load(run.path)  # checks that it fits the run
        _copy(run, out)
    return _figures(out)


def write_run_file(
    source: RunFolder, target: RunFolder, folded: Any, net: Any, backend: Backend
) -> None:
    """Give a folded run the file of the run that it is made from.

    Args:
        source: the run.
        target: the folder of the folded run.
        folded, net: the run's network, folded and not.
        backend: their framework.

    Raises:
        MaamError: the run has no such file, and its data is missing, on which a new one is
            compared.
    """
    if source.model.exists() and Network(source.model).whole:
        _copy(source, target.model)
        return
    meta = source.read_meta()
    backend.export_model(folded, meta, real_images(meta), target.model, net)


def real_images(meta: RunMeta) -> np.ndarray:
    """Images of a run's data, uint8 (N, H, W, C): of its test split, or else of what there is.

    Raises:
        MaamError: its data is missing, or has other images than the run takes.
    """
    config = meta.config
    data, wanted = config.get("data", meta.data), meta.image_shape
    size = None if data in SOURCES else wanted[1]
    folder = Path(config["data_dir"]) if config.get("data_dir") else None
    fraction = config.get("val_fraction", 0.1)
    dataset = load_dataset(data, folder, size, fraction, config.get("seed", 0))
    split = next(each for each in (dataset.test, dataset.val, dataset.train) if len(each))
    height, width, channels = split.image_shape
    if (channels, height, width) != wanted:
        raise MaamError(f"{data} has images of another shape than the run was trained on")
    return spread(split, IMAGES).pixels()


def _copy(run: RunFolder, out: Path) -> None:
    """Copy the file and its golden images; both are whole before either takes its place."""
    if not run.golden.exists():
        write_atomic(out, run.model.read_bytes())
        return
    load_tensors(run.golden)  # checks it
    with atomic_path(out) as first, atomic_path(golden_path(out)) as second:
        first.write_bytes(run.model.read_bytes())
        second.write_bytes(run.golden.read_bytes())


def _figures(out: Path) -> dict[str, str]:
    figures, golden = {"size": f"{out.stat().st_size:,} bytes"}, golden_path(out)
    if golden.exists():
        figures["golden images"] = f"{golden.name}, to test with: some of the data, maybe private"
    return figures
