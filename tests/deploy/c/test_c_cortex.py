"""The kernels on Cortex-M4 and M7, under qemu: the reference's logits, in little RAM and flash."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from c_programs import KERNELS
from layered_nets import every_kind, preprocessing, random_images

from maam.core.footprint import Footprint, Limits
from maam.data.preprocessing import Preprocessing
from maam.deploy.c.block import make_block
from maam.deploy.c.folder import Precision, write_files
from maam.deploy.c.footprint import footprint
from maam.deploy.c.source import golden_header, golden_source, model_header, model_source
from maam.deploy.layers import LayeredNetwork
from maam.deploy.quantization import quantize_layers
from maam.deploy.reading import read_layers
from maam.models.weights import shipped_run

TOOLS = ("arm-none-eabi-gcc", "qemu-system-arm", "make")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"without {TOOLS}"),
]
KIB = 1024


def write_folder(
    folder: Path, network: LayeredNetwork, how: Preprocessing, images: np.ndarray, kind: Precision
) -> Footprint:
    """An exported folder whose golden images are these; what it is said to need."""
    if kind == "int8":
        integers = quantize_layers(network, how, images)
        block, logits = make_block(integers), integers.logits(images)
    else:
        block = make_block(network, how)
        logits = network.logits(how(images).transpose(0, 2, 3, 1))
    names = [f"class {n}" for n in range(logits.shape[1])]
    texts = {
        "model.h": model_header(block, "a test"),
        "model.c": model_source(block, "a test", names),
        "golden.h": golden_header(block, len(images)),
        "golden.c": golden_source(images, logits),
    }
    folder.mkdir()
    write_files(folder, texts, kind)
    return footprint(block, names)


def make(folder: Path, *goals: str) -> str:
    command = ["make", "-s", "-C", str(folder), "ARM_CFLAGS=-O3 -Werror", *goals]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout


def size(program: Path) -> tuple[int, int, int]:
    """Bytes of code and constants, of variables with a value, of others."""
    command = ["arm-none-eabi-size", str(program)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    text, data, bss = (int(number) for number in said.splitlines()[1].split()[:3])
    return text, data, bss


def measured(folder: Path, said: str, picture: int) -> list[Footprint]:
    """What the programs of a folder need on M4 and M7, but for the picture compiled into them.

    Args:
        folder: the folder, built.
        said: what ``make qemu`` has printed.
        picture: its bytes.
    """
    stacks = [int(number) for number in re.findall(r"stack bytes: (\d+)", said)]
    needs = []
    for suffix, stack in zip(("m4", "m7"), stacks, strict=True):
        text, data, bss = size(folder / f"classify-{suffix}.elf")
        needs.append(Footprint(text + data - picture, data + bss - 4096 + stack))
    return needs


@pytest.mark.parametrize("precision", ["int8", "float32"])
@pytest.mark.parametrize("seed", range(2))
def test_a_layer_of_every_kind(tmp_path, precision, seed):
    images = random_images(200, seed=seed)
    need = write_folder(tmp_path / "c", every_kind(seed), preprocessing(), images, precision)
    said = make(tmp_path / "c", "qemu")
    assert said.count("golden images: as expected") == 2
    for real in measured(tmp_path / "c", said, images[0].size):
        assert Limits(need.flash, need.ram).hold(real)


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_the_shipped_nano_on_200_images(tmp_path, precision):
    run = shipped_run("maamnet-nano")
    how = Preprocessing.from_dict(run.read_meta().preprocessing)
    images = random_images(200, how.size)
    need = write_folder(tmp_path / "c", read_layers(run), how, images, precision)
    said = make(tmp_path / "c", "qemu")
    assert said.count("golden images: as expected") == 2
    for real in measured(tmp_path / "c", said, images[0].size):
        assert real.flash <= need.flash <= 1.1 * real.flash
        assert real.ram <= need.ram <= 1.1 * real.ram
        if precision == "int8":
            assert real.flash + images[0].size <= 128 * KIB
            assert real.ram <= 64 * KIB


def test_wrong_logits_are_noticed(tmp_path):
    images = random_images(4)
    write_folder(tmp_path / "c", every_kind(), preprocessing(), images, "int8")
    golden = tmp_path / "c" / "golden.c"
    text = golden.read_text()
    at = text.rindex("{") + 1
    number = re.compile(r"-?\d+")
    golden.write_text(text[:at] + number.sub("1234", text[at:], count=1))
    command = ["make", "-s", "-C", str(tmp_path / "c"), "qemu"]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode and "wrong logits" in made.stdout


def test_the_kernels_use_the_dual_multiply_accumulate(tmp_path):
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-O3", "-S", "-o"]
    made = [*command, str(tmp_path / "a.s"), str(KERNELS / "maam_int8.c")]
    subprocess.run(made, check=True)
    assert "smlad" in (tmp_path / "a.s").read_text()
