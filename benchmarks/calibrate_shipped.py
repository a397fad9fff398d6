"""Calibrate the shipped networks for CIFAR-10, on images held out of another training.

    python benchmarks/calibrate_shipped.py runs/queue/maamnet-nano-held-out-seed-0
    python benchmarks/calibrate_shipped.py    # of new weights, as the others are
    python benchmarks/export_shipped.py

The shipped networks have learned from all training images, so none is left to fit a temperature
on. A network of the same recipe has learned from 45,000 of them; the temperature that suits the
other 5,000 (Guo et al. 2017, arXiv 1706.04599) divides the last layer of each shipped network. The
classes named stay the same but for rounding to float16. A second call changes nothing.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from maam.core import frameworks
from maam.core.config import TrainConfig, make_config
from maam.core.errors import MaamError
from maam.core.frameworks import Backend
from maam.core.metrics import calibration_error, softmax
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors, save_tensors
from maam.data import load_dataset
from maam.data.preprocessing import Preprocessing
from maam.models.weights import shipped, shipped_run
from maam.training.calibration import fit_temperature


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    text = "a training with validation images; without it all get what one of them has"
    parser.add_argument("run", type=Path, nargs="?", help=text)
    parser.add_argument("--data-dir", type=Path)
    given = parser.parse_args()
    try:
        backend = frameworks.use("torch")
        backend.set_device("CPU")
        run = given.run and RunFolder(given.run)
        calibration = fit(run, backend, given.data_dir) if run else earlier()
        print(calibration)
        for model in shipped():
            divide(shipped_run(model), backend, calibration)
    except MaamError as error:
        print(f"calibrate_shipped: {error}", file=sys.stderr)
        sys.exit(2)


def earlier() -> dict[str, Any]:
    """The calibration that shipped networks have already.

    Raises:
        MaamError: none has one, or they differ.
    """
    metas = [shipped_run(model).read_meta() for model in shipped()]
    found = [meta.calibration for meta in metas if meta.calibration]
    if not found or found.count(found[0]) < len(found):
        raise MaamError("shipped networks have no calibration, or several: name a training")
    return found[0]


def fit(run: RunFolder, backend: Backend, data_dir: Path | None) -> dict[str, Any]:
    """The temperature of a training's best weights on its validation images.

    Raises:
        MaamError: it has none.
    """
    meta = run.read_meta()
    config = make_config(TrainConfig, meta.config)
    dataset = load_dataset(meta.data, data_dir, None, config.val_fraction, config.seed)
    if not len(dataset.val):
        raise MaamError(f"{run} has no validation images: give its training a `val_fraction`")
    net, _ = backend.load_model(run.path)
    logits = backend.compute_logits(net, dataset.val, Preprocessing.from_dict(meta.preprocessing))
    labels = dataset.val.labels
    temperature = fit_temperature(logits, labels)
    return {
        "temperature": round(temperature, 4),
        "images": len(labels),
        "ece_before": calibration_error(softmax(logits), labels),
        "ece": calibration_error(softmax(logits / temperature), labels),
    }


def divide(folder: RunFolder, backend: Backend, calibration: dict[str, Any]) -> None:
    """Divide the logits of a shipped network, in place of what they were divided by before."""
    weights, metadata = load_tensors(folder.best)
    net, meta = backend.load_model(folder.path)
    temperature = calibration["temperature"]
    factor = metadata.get("temperature", 1.0) / temperature
    for name in backend.head_names(net):
        scaled = weights[name].astype(np.float32) * np.float32(factor)
        weights[name] = scaled.astype(weights[name].dtype)
    if factor != 1:
        save_tensors(folder.best, weights, {**metadata, "temperature": temperature})
    folder.write_meta(replace(meta, calibration=calibration))


if __name__ == "__main__":
    main()
