"""The file of a run, written only if it computes what the framework does, on real images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.core.metrics import softmax
from maam.core.run_meta import RunMeta
from maam.core.tensors import save_tensors
from maam.data.preprocessing import Preprocessing
from maam.deploy.classifier import colour
from maam.deploy.half import halved
from maam.deploy.onnx import INPUT, Network
from maam.deploy.onnx_meta import write_properties
from maam.deploy.preprocessing_graph import with_preprocessing
from maam.deploy.seal import seal

IMAGES = 256  # that are compared, if there are as many
GOLDEN = 8  # images that are kept with their logits
TOLERANCE = 1e-4  # largest difference of a probability

_BATCH = 32
_TIE = 1e-6  # two classes whose probabilities differ by less are equally likely
_SAME = 1e-3  # largest difference of a layer's output, relative to its largest value

Outputs = Sequence[tuple[str, np.ndarray]]
"""Name and output of each layer, in the order in which they are computed."""


@dataclass(frozen=True)
class Computed:
    """A network as its framework computes it.

    Attributes:
        logits: float32 (N, C, H, W), normalised -> float32 (N, K).
        outputs: the same -> what each layer puts out.
        weights: all its tensors, by name.
    """

    logits: Callable[[np.ndarray], np.ndarray]
    outputs: Callable[[np.ndarray], Outputs]
    weights: Mapping[str, np.ndarray]


def golden_path(path: Path) -> Path:
    """Where the golden images of an ONNX file lie: beside it."""
    return path.with_suffix(".golden.safetensors")


def write_model(
    bare: bytes,
    computed: Computed,
    meta: RunMeta,
    images: np.ndarray,
    path: Path,
) -> float:
    """Write the file of a run, and its golden images, if it computes what the framework does.

    Shipped weights are stored in float16: their network must be that of such weights.

    Args:
        bare: the network as a framework has exported it.
        computed: the network.
        meta: of the run.
        images: real ones, uint8 (N, H, W, C) of the network's size; ``IMAGES`` of them are used.
        path: the file to write; ``golden_path`` gets images uint8 (n, H, W, 3), logits and
            probabilities float32 (n, K).

    Returns:
        The largest difference of a logit, relative to the largest logit.

    Raises:
        MaamError: an image gets another class, or a probability differs by more than
            ``TOLERANCE``; the error names the first layer that parts. Nothing is left then.
    """
    how = Preprocessing.from_dict(meta.preprocessing)
    properties = write_properties(meta, computed.weights)
    content = with_preprocessing(halved(bare) if meta.shipped else bare, how, properties)
    content = seal(content)
    images = images[:IMAGES]
    expected = _batches(lambda some: computed.logits(how(some)), images)
    network = Network(content, name=str(path))
    found = _batches(lambda some: network(colour(some)), images)
    probabilities = _batches(lambda some: network.probabilities(colour(some)), images)
    wanted = softmax(expected)
    difference = float(np.abs(probabilities - wanted).max())
    rows = np.arange(len(wanted))
    # How much less likely the framework holds the file's answer than its own.
    lost = wanted.max(1) - wanted[rows, probabilities.argmax(1)]
    others = int((~(lost <= _TIE)).sum())
    if others or not difference <= TOLERANCE:
        for left in (path, golden_path(path)):
            left.unlink(missing_ok=True)
        raise MaamError(
            f"{path} is not written, for it differs from the network: {others} of {len(images)} "
            f"images get another class, probabilities differ by up to {difference:.2g}; "
            f"{_where(content, computed, how, images[:GOLDEN])}"
        )
    write_atomic(path, content)
    golden = {
        "images": colour(images[:GOLDEN]),
        "logits": expected[:GOLDEN].astype(np.float32),
        "probabilities": wanted[:GOLDEN].astype(np.float32),
    }
    save_tensors(golden_path(path), golden, {"classes": list(meta.classes)})
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))


def _batches(compute: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    starts = range(0, len(images), _BATCH)
    return np.concatenate([compute(images[start : start + _BATCH]) for start in starts])


def _where(content: bytes, computed: Computed, how: Preprocessing, images: np.ndarray) -> str:
    """The first layer whose output is nowhere in the file's graph, while those before it are."""
    inner = _all_outputs(content, colour(images))
    outputs = computed.outputs(how(images))
    same = [_is_among(output, inner) for _, output in outputs]
    last = max((number for number, found in enumerate(same) if found), default=-1)
    if last + 1 == len(outputs):
        return "all layers of the folded network agree, so folding is at fault"
    return f"the first layer that parts is {outputs[last + 1][0]}"


def _all_outputs(content: bytes, images: np.ndarray) -> list[np.ndarray]:
    """Every tensor of floats in a file's graph, for some images uint8 (N, H, W, 3)."""
    import onnx
    import onnxruntime

    model = onnx.load_from_string(content)
    known = {output.name for output in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name not in known]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found = map(np.asarray, session.run(None, {INPUT: images}))
    return [each for each in found if each.dtype == np.float32]


def _is_among(output: np.ndarray, inner: Sequence[np.ndarray]) -> bool:
    limit = _SAME * max(float(np.abs(output).max(initial=0)), 1e-6)
    return any(
        each.size == output.size and np.abs(each.ravel() - output.ravel()).max(initial=0) <= limit
        for each in inner
    )
