"""model-int8.onnx of a run: the network in integers with all that the file of a run holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from maam.core.errors import MaamError
from maam.core.files import atomic_path, write_atomic
from maam.core.metrics import softmax
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.core.tensors import load_tensors, save_tensors
from maam.data.preprocessing import Preprocessing
from maam.deploy.int8 import Int8Network
from maam.deploy.int8_file import int8_arrays, read_int8
from maam.deploy.onnx import Network
from maam.deploy.onnx_meta import DIGEST, weights_digest, write_properties
from maam.deploy.onnx_writing import golden_path
from maam.deploy.preprocessing_graph import with_preprocessing
from maam.deploy.qdq import qdq_model
from maam.deploy.seal import seal


def int8_model(network: Int8Network, meta: RunMeta) -> bytes:
    """The file of a run in integers: preprocessing, network, metadata and checksum.

    Args:
        network: in integers.
        meta: of the run, its scores those of the integers.
    """
    properties = write_properties(meta, int8_arrays(network)) | {"precision": "int8"}
    how = Preprocessing.from_dict(meta.preprocessing)
    return seal(with_preprocessing(qdq_model(network), how, properties))


def scored(meta: RunMeta, accuracy: float, split: str, images: int, own: bool) -> RunMeta:
    """A run's metadata with the accuracy of its integers in place of its own scores.

    On images that are not the run's ``own``, its file names no accuracy.
    """
    metrics = {"split": split, "images": images, "accuracy": accuracy}
    return replace(meta, metrics=metrics if own else {})


def export_int8(run: RunFolder, out: Path) -> None:
    """Copy model-int8.onnx of a run as ``out``, and write golden images beside it.

    Their logits are those of the exact arithmetic.

    Raises:
        MaamError: the run is not quantised, or one of its files is damaged, of an older version or
            of other weights.
    """
    if not run.int8_model.exists():
        raise MaamError(f"{run} is not quantised: `maam quantize {run}` first")
    model = Network(run.int8_model)
    network = read_int8(run)
    if model.properties.get(DIGEST) != weights_digest(int8_arrays(network)):
        raise MaamError(
            f"{run.int8_model} does not hold what {run.int8.name} does, or an older version has "
            f"written it: `maam quantize {run}` writes both anew"
        )
    content = run.int8_model.read_bytes()
    if not run.golden.exists():
        write_atomic(out, content)
        return
    golden, about = load_tensors(run.golden)
    images = golden["images"][..., : network.image[2]]
    logits = network.values(images)
    tensors = {
        "images": golden["images"],
        "logits": logits,
        "probabilities": softmax(logits).astype(np.float32),
    }
    with atomic_path(out) as first, atomic_path(golden_path(out)) as second:
        first.write_bytes(content)
        save_tensors(second, tensors, about)
