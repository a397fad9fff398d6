"""The ONNX form of a network: the names and shapes of its input and output, in this one place.

The input ``image`` is float32 (N, C, H, W), normalised; the output ``logits`` is float32 (N, K).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maam.core.errors import MaamError, first_line
from maam.core.files import write_atomic

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

INPUT, OUTPUT = "image", "logits"
TOLERANCE = 1e-4  # largest difference of a logit, relative to the largest logit


class Network:
    """An ONNX file that was exported by maam, ready to run.

    Args:
        path: the file.
        threads: that it may use; as many as there are cores when None.

    Attributes:
        image_shape: (C, H, W) of the input; a name in place of a number means any.

    Raises:
        MaamError: it is missing, damaged, or not exported by maam.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self._session = _open(path, threads)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if [i.name for i in inputs] != [INPUT] or [o.name for o in outputs] != [OUTPUT]:
            raise MaamError(
                f"{path} was not exported by maam: it must turn `{INPUT}` into `{OUTPUT}`"
            )
        self.image_shape: list[int | str] = inputs[0].shape[1:]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """float32 (N, C, H, W) -> logits float32 (N, K)."""
        (logits,) = self._session.run([OUTPUT], {INPUT: images})
        return np.asarray(logits)


def _open(path: Path, threads: int | None) -> InferenceSession:
    import onnxruntime

    if not path.is_file():
        raise MaamError(
            f"{path} is missing: copy the whole run folder, or end its training with "
            f"`maam train --resume {path.parent}`"
        )
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 4  # its errors are raised as well; here they become one line
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common class of their own
        raise MaamError(f"{path} is damaged or not ONNX: {' '.join(str(error).split())}") from None


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
    """Write an ONNX file if ONNX Runtime computes from it what the network computes.

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
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).random((3, *image_shape), dtype=np.float32)
    expected = logits_of(images)
    (logits,) = session.run(None, {INPUT: images})
    error = float(np.abs(logits - expected).max() / max(np.abs(expected).max(), 1e-12))
    if not error <= TOLERANCE:
        raise MaamError(f"{path}: the export differs from the network by {error:.2g}; not written")
    write_atomic(path, content)
    return error
