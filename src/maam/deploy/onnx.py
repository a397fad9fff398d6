"""ONNX files of ours, opened: the names and shapes of input and output, in this one place.

A *file of a run* holds all that it needs (``maam.deploy.preprocessing_graph`` makes it): the input
``image`` is uint8 (N, H, W, 3), RGB, of any height and width; the outputs are ``probabilities`` and
``logits``, float32 (N, K). A *bare* network has no preprocessing: its input ``image`` is float32
(N, C, H, W), normalised, its output ``logits``; frameworks export it, and older versions of maam
wrote it into run folders.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maam.core.errors import MaamError, first_line
from maam.core.files import write_atomic
from maam.core.run_meta import RunMeta
from maam.deploy.onnx_check import MAX_BYTES, check_content
from maam.deploy.onnx_meta import read_properties
from maam.deploy.seal import is_intact, is_sealed

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnxruntime import InferenceSession

INPUT, LOGITS, PROBABILITIES = "image", "logits", "probabilities"
TOLERANCE = 1e-4  # largest difference of a logit, relative to the largest logit


class Network:
    """An ONNX file that was exported by maam, ready to run.

    Args:
        source: the file, or the content of one.
        threads: that it may use; as many as there are cores when None.
        name: of the file in errors, where ``source`` is its content.

    Attributes:
        whole: whether it is the file of a run; else a bare network.
        meta: what the file of a run knows of itself; None of a bare network.
        properties: the metadata of the file, as it stands there.
        image_shape: (C, H, W) of a bare network's input; a name in place of a number means any.

    Raises:
        MaamError: it is missing, damaged, changed, or not exported by maam.
    """

    def __init__(
        self, source: Path | bytes, threads: int | None = None, name: str = "model.onnx"
    ) -> None:
        if isinstance(source, Path):
            name = str(source)
        content = read_file(source) if isinstance(source, Path) else source
        if is_sealed(content) and not is_intact(content):
            raise MaamError(
                f"{name} is damaged: its checksum does not fit; restore it from a copy, or export "
                "it anew"
            )
        check_content(content, name)
        self._session = _open(content, name, threads)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        names = [i.name for i in inputs], [o.name for o in outputs]
        self.whole = names == ([INPUT], [PROBABILITIES, LOGITS])
        if not self.whole and names != ([INPUT], [LOGITS]):
            raise MaamError(
                f"{name} was not exported by maam: it must turn `{INPUT}` into "
                f"`{PROBABILITIES}` and `{LOGITS}`"
            )
        if self.whole and not is_sealed(content):
            raise MaamError(
                f"{name} is damaged, or another program has written it: it has no checksum; "
                "export it anew"
            )
        self.meta: RunMeta | None = None
        self.image_shape: list[int | str] = inputs[0].shape[1:]
        self.properties: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        if self.whole:
            self.meta = read_properties(self.properties, name)
            self.image_shape = list(self.meta.image_shape)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Logits float32 (N, K) of what the file takes: uint8 (N, H, W, 3), or of a bare network
        float32 (N, C, H, W).
        """
        (logits,) = self._session.run([LOGITS], {INPUT: images})
        return np.asarray(logits)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """float32 (N, K), as the file of a run computes them from uint8 (N, H, W, 3)."""
        (probabilities,) = self._session.run([PROBABILITIES], {INPUT: images})
        return np.asarray(probabilities)

    def random_image(self) -> np.ndarray:
        """One image of the network's own size that it takes."""
        channels, height, width = (int(side) for side in self.image_shape)
        rng = np.random.default_rng(0)
        if self.whole:
            return rng.integers(0, 256, (1, height, width, 3), dtype=np.uint8)
        return rng.random((1, channels, height, width), dtype=np.float32)


def read_file(path: Path) -> bytes:
    """The content of an ONNX file.

    Raises:
        MaamError: it is missing, can't be read, or is larger than any network of ours.
    """
    try:
        if not path.is_file():
            raise MaamError(
                f"{path} is missing: copy the whole run folder, or end its training with "
                f"`maam train --resume {path.parent}`"
            )
        if path.stat().st_size > MAX_BYTES:
            raise MaamError(f"{path} is larger than {MAX_BYTES:,} bytes: it is no network of maam")
        return path.read_bytes()
    except OSError as error:
        raise MaamError(f"cannot read {path}: {error.strerror or error}") from None


def _open(content: bytes, name: str, threads: int | None) -> InferenceSession:
    # Read when ONNX Runtime is loaded: it sends no events, and writes no device number to the disk.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    if hasattr(onnxruntime, "disable_telemetry_events"):  # older ones have no other way
        onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = options.inter_op_num_threads = threads
    # Where x86 has no VNNI, sums of products of 8 bits would saturate (ONNX Runtime, "Quantize ONNX
    # models", U8S8); slower and right.
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 4  # its errors are raised as well; here they become one line
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common class of their own
        reason = " ".join(str(error).split())[:300]
        raise MaamError(f"{name} is damaged or not ONNX: {reason}") from None


@contextmanager
def exporting() -> Iterator[None]:
    """Turn what a framework's exporter or ONNX Runtime raises into one line.

    Raises:
        MaamError: it has raised something, as of a network of one's own that ONNX can't hold.
    """
    try:
        yield
    except MaamError:
        raise
    except Exception as error:  # they have no common class of their own
        reason = first_line(error)
        raise MaamError(f"the network can't be written as ONNX: {reason}") from error


def write_verified(
    content: bytes,
    logits_of: Callable[[np.ndarray], np.ndarray],
    image_shape: tuple[int, int, int],
    path: Path,
) -> float:
    """Write a bare network if ONNX Runtime computes from it what the network computes.

    Args:
        content: the file.
        logits_of: the network: float32 (N, C, H, W) -> (N, K).
        image_shape: (C, H, W).
        path: the file to write.

    Returns:
        The largest difference of a logit on random images, relative to the largest logit.

    Raises:
        MaamError: it differs; nothing has been written then.
    """
    images = np.random.default_rng(0).random((3, *image_shape), dtype=np.float32)
    expected = logits_of(images)
    logits = Network(content, name=str(path))(images)
    error = float(np.abs(logits - expected).max() / max(np.abs(expected).max(), 1e-12))
    if not error <= TOLERANCE:
        raise MaamError(f"{path}: the export differs from the network by {error:.2g}; not written")
    write_atomic(path, content)
    return error
