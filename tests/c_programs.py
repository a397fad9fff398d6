"""Programs in C that answer images for tests, built with every check that gcc has."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import maam.deploy.c
from maam.deploy.c.block import Block

KERNELS = Path(maam.deploy.c.__file__).parent
DRIVER = Path(__file__).parent / "deploy" / "c" / "driver.c"
CHECKS = (
    *("-std=c99", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wpedantic"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
)
FORMS = {  # name -> source and options
    "plain": ("maam_int8.c", ()),
    "dsp": ("maam_int8.c", ("-DMAAM_DSP_EMULATED",)),
    "float32": ("maam_float32.c", ("-DFLOAT32",)),
}


def compile_c(target: Path, sources: list[Path], *options: str) -> Path:
    """Compile with all warnings as errors; skips the test where there is no gcc."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    command = ["gcc", *CHECKS, *options, "-o", str(target), *map(str, sources)]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return target


@dataclass(frozen=True)
class Answers:
    """What a program has written.

    Attributes:
        logits: int16 or float32 (N, K).
        probabilities: float32 (N, K).
        maps: float32 (N, pixels), of class n % K; (N, 0) where there are none.
    """

    logits: np.ndarray
    probabilities: np.ndarray
    maps: np.ndarray


@dataclass(frozen=True)
class Program:
    """A compiled driver."""

    path: Path

    def answer(self, block: Block, images: np.ndarray, scratch: Path) -> Answers:
        """Answer images uint8 (N, H, W, C)."""
        scratch.mkdir(exist_ok=True)
        (scratch / "block").write_bytes(block.to_bytes())
        (scratch / "images").write_bytes(np.ascontiguousarray(images).tobytes())
        command = [self.path, scratch / "block", scratch / "images", scratch / "out"]
        ran = subprocess.run(command, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        kind = np.int16 if block.precision == "int8" else np.float32
        read = {
            name: np.fromfile(scratch / f"out.{name}", np.float32 if name != "logits" else kind)
            for name in ("logits", "probabilities", "maps")
        }
        return Answers(**{name: array.reshape(len(images), -1) for name, array in read.items()})


def build_driver(folder: Path, form: str) -> Program:
    """Build the driver with the kernels of a form: see ``FORMS``."""
    kernel, options = FORMS[form]
    sources = [DRIVER, KERNELS / "maam_nn.c", KERNELS / kernel]
    return Program(compile_c(folder / form, sources, f"-I{KERNELS}", *options))
