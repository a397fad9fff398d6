"""What the ONNX file of a run says of itself: for maam, and in words for everyone else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from maam.core.errors import MaamError
from maam.core.run_meta import RunMeta, parse_meta
from maam.data.sources import SOURCES

META = "maam.meta"
DIGEST = "weights.sha256"
MAX_SIDE = 4096  # of the images that a network takes

LICENCE = (
    "The weights are their maker's. Which licence the training images have, and what it allows one "
    "to do with weights learned from them, is the user's to check."
)

SHIPPED_LICENCE = (
    "The weights are under the licence of the package maam (Apache-2.0). CIFAR-10 (Krizhevsky "
    "2009) names no licence of its own."
)

# Of a run's options, what scoring other images needs; the rest is the machine's that trained it.
_OPTIONS = ("data", "framework", "image_size", "limit", "normalize", "seed", "val_fraction")
_SCORES = ("split", "images", "accuracy", "loss", "ece")
_LEFT_OUT = {
    "environment": {},
    "stages": (),
    "device": "",
    "device_name": "",
    "teacher": None,
    "start": None,
    "epochs": None,
    "seconds": None,
    "operators": "",
    "export_error": None,
}


def write_properties(meta: RunMeta, weights: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The metadata of the file of a run: key -> text.

    Names of folders on this machine are left out.

    Args:
        meta: of the run, scored.
        weights: the folded network's, by name.
    """
    named = meta.data in SOURCES
    config = {key: meta.config[key] for key in _OPTIONS if key in meta.config}
    if not named:
        config.pop("data", None)
    metrics = meta.metrics or {}
    kept = replace(
        meta,
        **_LEFT_OUT,
        config=config,
        data=meta.data if named else "",
        data_source=meta.data_source if named else "",
        metrics={key: metrics[key] for key in _SCORES if key in metrics},
    )
    return {
        "model": meta.model,
        "classes": json.dumps(meta.classes, ensure_ascii=False),
        "accuracy": _accuracy(meta),
        "input": "image: uint8 (N, H, W, 3), RGB, upright, any height and width",
        "outputs": f"probabilities, logits: float32 (N, {len(meta.classes)}), as in classes",
        "preprocessing": meta.preprocessing_text,
        DIGEST: weights_digest(weights),
        "licence": SHIPPED_LICENCE if meta.shipped else LICENCE,
        META: json.dumps(kept.to_dict(), ensure_ascii=False),
    }


def read_properties(properties: Mapping[str, str], name: str) -> RunMeta:
    """What ``write_properties`` wrote, for maam.

    Args:
        properties: the file's metadata.
        name: the file, for the error.

    Raises:
        MaamError: it is missing, or not what maam writes.
    """
    if META not in properties:
        raise MaamError(f"{name} was not exported by maam: it has no {META} in its metadata")
    meta = parse_meta(properties[META], f"{META} in {name}")
    if max(meta.preprocessing["size"]) > MAX_SIDE:
        raise MaamError(
            f"{name}: images of {meta.preprocessing['size']} are larger than {MAX_SIDE}"
        )
    return meta


def weights_digest(weights: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of named arrays, whatever their order."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        sha.update(f"{name} {array.dtype} {array.shape}\n".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def _accuracy(meta: RunMeta) -> str:
    metrics = meta.metrics or {}
    if metrics.get("accuracy") is None:
        return "not measured"
    images = metrics.get("images")
    count = f"{images:,} " if images else ""
    return f"{metrics['accuracy']:.4f} on {count}{metrics.get('split', 'test')} images"
