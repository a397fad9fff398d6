"""``maam export --format c``: a folder of C99 that computes what a run does."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np

from maam.core.errors import MaamError
from maam.core.files import make_folder
from maam.core.footprint import kib
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.core.signals import check_signals
from maam.core.tensors import load_tensors
from maam.data.preprocessing import Preprocessing
from maam.deploy.c.block import Block, make_block
from maam.deploy.c.footprint import footprint
from maam.deploy.c.source import golden_header, golden_source, model_header, model_source
from maam.deploy.int8 import Int8Network
from maam.deploy.int8_file import read_int8
from maam.deploy.layers import LayeredNetwork
from maam.deploy.reading import read_layers

HERE = Path(__file__).parent
TEMPLATE = HERE / "template"
SHARED = ("maam_nn.h", "maam_nn.c")
KERNELS = {
    "int8": (
        *("maam_int8.c", "maam_int8.h", "maam_int8_plain.h"),
        *("maam_int8_dsp.h", "maam_scale.h", "maam_simd.h"),
    ),
    "float32": ("maam_float32.c",),
}
_GOLDEN = 8
Precision = Literal["int8", "float32"]


def write_c(run: RunFolder, out: Path, precision: Precision) -> dict[str, str]:
    """Write a folder of C99: the model, the kernels, a program, a test, a Makefile and a README.

    Args:
        run: a finished run; for ``int8``, one that ``maam quantize`` has quantised.
        out: the folder to make; it may exist if it is empty.
        precision: of weights and maps.

    Returns:
        What it needs, for people: name -> value.

    Raises:
        MaamError: ``out`` is there and not empty, the run is not finished, damaged, not quantised,
            or of a model that can't be computed in C.
    """
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise MaamError(f"{out} exists already: delete it, or name another with `out`")
    meta = run.read_meta()
    network = load_network(run, precision)
    preprocessing = Preprocessing.from_dict(meta.preprocessing)
    block = make_block(network, preprocessing)
    need = footprint(block, meta.classes)
    images, source = golden_images(run, meta)
    if isinstance(network, Int8Network):
        logits = network.logits(images)
    else:
        logits = network.logits(preprocessing(images).transpose(0, 2, 3, 1))
    check_signals()
    version = metadata.version("maam")
    title = f"{meta.model}, {precision}: written by maam {version}"
    figures = {
        "Flash": f"{kib(need.flash)}, of it {kib(block.head['bytes'])} of constants",
        "RAM": f"{kib(need.ram)}, of it {kib(block.head['arena_bytes'])} of the arena",
        "Golden images": source,
    }
    texts = {
        "model.h": model_header(block, title),
        "model.c": model_source(block, title, meta.classes),
        "golden.h": golden_header(block, len(images)),
        "golden.c": golden_source(images, logits),
        "README.md": _readme(block, meta, source),
    }
    make_folder(out.absolute().parent)
    beside = {"prefix": f".{out.name}.", "dir": out.absolute().parent}
    try:
        with tempfile.TemporaryDirectory(**beside) as scratch:
            folder = Path(scratch) / "folder"
            folder.mkdir()
            write_files(folder, texts, precision)
            folder.rename(out.absolute())
    except OSError as error:
        raise MaamError(f"cannot write {out}: {error.strerror or error}") from None
    return figures


def load_network(run: RunFolder, precision: Precision) -> LayeredNetwork | Int8Network:
    """The network of a run, in integers or in floating point.

    Raises:
        MaamError: see ``write_c``.
    """
    return read_int8(run) if precision == "int8" else read_layers(run)


def write_files(folder: Path, texts: dict[str, str], precision: Precision) -> None:
    """Write texts, kernels and what else a folder has.

    Args:
        folder: an empty one.
        texts: name -> content, of the files that differ from model to model.
        precision: which kernels are needed.
    """
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    for name in (*SHARED, *KERNELS[precision]):
        shutil.copyfile(HERE / name, folder / name)
    for path in TEMPLATE.iterdir():
        if path.suffix in (".c", ".h", ".ld"):
            shutil.copyfile(path, folder / path.name)
    makefile = (TEMPLATE / "Makefile").read_text(encoding="utf-8")
    kernels = " ".join(name for name in KERNELS[precision] if name.endswith(".c"))
    (folder / "Makefile").write_text(makefile.replace("@KERNELS@", kernels), encoding="utf-8")


def golden_images(run: RunFolder, meta: RunMeta) -> tuple[np.ndarray, str]:
    """Images for the golden test: those of the run's data that it keeps, else random ones.

    Returns:
        uint8 (8, H, W, C), and where they come from, for people.

    Raises:
        MaamError: the run's file of them is damaged.
    """
    channels, height, width = meta.image_shape
    kept = run.model.with_suffix(".golden.safetensors")
    if kept.exists():
        stored = load_tensors(kept)[0].get("images", np.empty(0))
        images = stored[:_GOLDEN, ..., :channels] if stored.ndim == 4 else stored
        if images.dtype == np.uint8 and images.shape[1:] == (height, width, channels):
            source = f"{len(images)} of the {meta.given_source or 'images'}"
            return np.ascontiguousarray(images), source
    shape = _GOLDEN, height, width, channels
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8), f"{_GOLDEN} random images"


def _readme(block: Block, meta: RunMeta, source: str) -> str:
    head = block.head
    channels, height, width = meta.image_shape
    preprocessing = Preprocessing.from_dict(meta.preprocessing)
    accuracy = (meta.metrics or {}).get("accuracy")
    score = "The run's own score is"
    if block.precision == "int8":
        score = "Before its weights became integers, the run's score was"
    text = (TEMPLATE / "README.md").read_text(encoding="utf-8")
    values = {
        "MODEL": meta.model,
        "PRECISION": block.precision,
        "DATA": meta.given_source or meta.data or "its data",
        "ACCURACY": "" if accuracy is None else f" {score} {accuracy:.2%}.",
        "HEIGHT": height,
        "WIDTH": width,
        "CHANNELS": "RGB" if channels == 3 else "grey",
        "IMAGE": height * width * preprocessing.channels,
        "BLOCK": f"{head['bytes']:,}",
        "ARENA": f"{head['arena_bytes']:,}",
        "CLASSES": len(meta.classes),
        "GOLDEN": source,
        "LOGITS": "int16, in units of MODEL_LOGIT_SCALE" if head["precision"] else "float",
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text
