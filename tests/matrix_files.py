"""Files of a run, mutated: each is read, or refused in a line that names it.

Nothing is known of the code that is reached. ``benchmarks/fuzz_files.py`` reads the same targets
under Atheris, which does know.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count as numbers
from pathlib import Path

import numpy as np
from matrix import Counts, check_line, counting
from matrix_images import in_a_process
from mutations import mutate_json, mutations

from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.core.run_meta import parse_meta
from maam.core.tensors import load_tensors
from maam.deploy.int8_file import load_int8, save_int8
from maam.deploy.onnx import Network
from maam.deploy.reading import read_layers
from maam.deploy.seal import seal
from maam.models.weights import shipped_run

NAME = "mutated"  # in the name of every file that is read
MODEL = "maamnet-nano"
_SUM = 145  # bytes of the checksum at the end of an ONNX file


@dataclass(frozen=True)
class Target:
    """A file's reader, a whole content, and how one is mutated.

    Attributes:
        read: of a content; raises ``MaamError`` where it is refused.
        whole: a content that is read.
        mutated: endless mutations of it; those inside a file get its checksum anew.
    """

    read: Callable[[bytes], object]
    whole: bytes
    mutated: Callable[[bytes, int], Iterator[bytes]]


def fuzz(folder: Path, name: str, seconds: float = 0.0, cases: int = 0, seed: int = 0) -> Counts:
    """Mutate a target for so many seconds, or cases, in a process of its own.

    Args:
        folder: empty, to write to.
        name: one of ``TARGETS``.
        seconds, cases: what ends it; one of them is above 0.
        seed: of the mutations.
    """
    return in_a_process(name, _fuzz, folder, name, seconds, cases, seed)


def _fuzz(folder: Path, name: str, seconds: float, cases: int, seed: int) -> Counts:
    os.environ["OMP_NUM_THREADS"] = "1"
    folder.mkdir(exist_ok=True)
    target = TARGETS[name](folder)
    with counting(name) as counts:
        target.read(target.whole)  # without a change it is read
        end = time.monotonic() + seconds
        for content in target.mutated(target.whole, seed):
            if counts.cases >= cases > 0 or (seconds and time.monotonic() > end):
                break
            counts.cases += 1
            began = time.monotonic()
            try:
                target.read(content)
                counts.fine += 1
            except BaseException as error:
                check_line(counts, error, NAME)
                if not isinstance(error, MaamError):
                    (folder / f"failed-{counts.cases}").write_bytes(content)
            counts.measure("slowest, s", time.monotonic() - began)
    return counts


def _plain(whole: bytes, seed: int) -> Iterator[bytes]:
    for number in numbers():
        yield from mutations([whole], 1000, seed + number)


def _json(whole: bytes, seed: int) -> Iterator[bytes]:
    rng = np.random.default_rng(seed)
    value = json.loads(whole)
    while True:
        changed = value
        for _ in range(int(rng.integers(1, 4))):
            changed = mutate_json(changed, rng)
        yield json.dumps(changed).encode()
        if rng.random() < 0.02:
            yield b"[" * 100_000


def _both(whole: bytes, seed: int) -> Iterator[bytes]:
    for one, other in zip(_plain(whole, seed), _json(whole, seed), strict=False):
        yield one
        yield other


def _sealed(whole: bytes, seed: int) -> Iterator[bytes]:
    return map(seal, _plain(whole[:-_SUM], seed))


def _header(whole: bytes, seed: int) -> Iterator[bytes]:
    """safetensors with another header: its length is right."""
    length = int.from_bytes(whole[:8], "little")
    for header in _both(whole[8 : 8 + length], seed):
        yield len(header).to_bytes(8, "little") + header + whole[8 + length :]


def _metadata(whole: bytes, seed: int) -> Iterator[bytes]:
    """A file of ours with other metadata, as text, and the checksum of that."""
    from safetensors.numpy import load, save

    length = int.from_bytes(whole[:8], "little")
    text = json.loads(whole[8 : 8 + length])["__metadata__"]["maam"]
    tensors = load(whole)
    for changed in _both(text.encode(), seed):
        text = changed.decode(errors="replace")
        yield save(tensors, {"sha256": _digest(tensors, text), "maam": text})


def _digest(tensors: dict[str, np.ndarray], text: str) -> str:
    """As ``core.tensors`` computes it."""
    sha = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        sha.update(f"{name} {tensors[name].dtype} {tensors[name].shape}\n".encode())
        sha.update(tensors[name].tobytes())
    return sha.hexdigest()


def _written(path: Path, read: Callable[[], object]) -> Callable[[bytes], object]:
    def write_and_read(content: bytes) -> object:
        path.write_bytes(content)
        return read()

    return write_and_read


def _meta(folder: Path) -> Target:
    def read(content: bytes) -> object:
        meta = parse_meta(content.decode(errors="replace"), NAME)
        return meta.to_dict(), meta.image_shape, meta.is_unknown(0.5)

    return Target(read, shipped_run(MODEL).meta.read_bytes(), _both)


def _history(folder: Path) -> Target:
    run = RunFolder(folder / NAME)
    run.path.mkdir()
    rows = [json.dumps({"epoch": n, "loss": 0.5, "val": [1, 2]}) for n in range(3)]
    return Target(_written(run.history, run.read_history), "\n".join(rows).encode(), _plain)


def _tensors(folder: Path, mutated: Callable[[bytes, int], Iterator[bytes]]) -> Target:
    from safetensors.numpy import save

    path = folder / f"{NAME}.safetensors"
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(1, np.int8)}
    text = json.dumps({"format": 1})
    whole = save(tensors, {"sha256": _digest(tensors, text), "maam": text})
    return Target(_written(path, lambda: load_tensors(path)), whole, mutated)


def _layers(folder: Path) -> Target:
    """A meta.json beside weights that it may not fit."""
    run, shipped = RunFolder(folder / NAME), shipped_run(MODEL)
    run.path.mkdir()
    run.best.write_bytes(shipped.best.read_bytes())

    def read() -> object:
        try:
            return read_layers(run)
        except MaamError as error:  # of the weights, which it need not name
            raise MaamError(f"{NAME}: {error}") from error

    return Target(_written(run.meta, read), shipped.meta.read_bytes(), _json)


def _int8(folder: Path, mutated: Callable[[bytes, int], Iterator[bytes]]) -> Target:
    from layered_nets import every_kind, preprocessing, random_images

    from maam.deploy.quantization import quantize_layers

    path = folder / f"{NAME}.safetensors"
    save_int8(path, quantize_layers(every_kind(), preprocessing(), random_images(8)))
    image = random_images(1)

    def read() -> object:
        network = load_int8(path)
        return network.logits(image) if network.image == (8, 6, 3) else network

    return Target(_written(path, read), path.read_bytes(), mutated)


def _onnx(folder: Path, mutated: Callable[[bytes, int], Iterator[bytes]]) -> Target:
    whole = shipped_run(MODEL).model.read_bytes()
    return Target(lambda content: Network(content, 1, NAME), whole, mutated)


TARGETS: dict[str, Callable[[Path], Target]] = {
    "meta.json": _meta,
    "metrics.jsonl": _history,
    "safetensors": lambda folder: _tensors(folder, _plain),
    "safetensors, header": lambda folder: _tensors(folder, _header),
    "safetensors, metadata": lambda folder: _tensors(folder, _metadata),
    "meta.json with weights": _layers,
    "int8.safetensors": lambda folder: _int8(folder, _plain),
    "int8.safetensors, layers": lambda folder: _int8(folder, _metadata),
    "model.onnx": lambda folder: _onnx(folder, _plain),
    "model.onnx, inside": lambda folder: _onnx(folder, _sealed),
}
