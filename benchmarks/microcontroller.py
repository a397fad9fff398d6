"""Flash, RAM and instructions of exported C on Cortex-M4 and M7, beside published anchors.

    apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm
    python benchmarks/microcontroller.py

Exports each shipped model as `maam export --format c` does, builds its programs with `make arm`,
runs them under qemu, and reads what they print: whether the golden images get the expected logits,
the stack in use (painted before) and the ticks of the processor's clock. qemu counts instructions,
not cycles: an instruction takes 1 ns of its clock, a tick 40 ns. Accuracy is of the same kernels,
built for this computer, on the test images. Writes results/microcontroller.json,
docs/microcontroller.md, and src/maam/deploy/c/measured.json, by which `maam train --fit-flash` and
`maam export` count code and stack.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from maam.core.environment import environment
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.core.run_folder import RunFolder
from maam.data import load_dataset
from maam.data.preprocessing import Preprocessing
from maam.deploy.c.block import make_block
from maam.deploy.c.folder import KERNELS, SHARED, load_network, write_c
from maam.deploy.c.footprint import MEASURED, bytes_of_names
from maam.models.weights import shipped_run
from maam.report.markdown import markdown_table

ROOT = Path(__file__).parents[1]
MODELS = ("maamnet-nano", "maamnet-tiny")
PRECISIONS: tuple[Literal["int8", "float32"], ...] = ("int8", "float32")
BOARDS = {  # processor -> suffix of the programs, qemu's board and processor
    "Cortex-M4": ("m4", "mps2-an386", "cortex-m4"),
    "Cortex-M7": ("m7", "mps2-an500", "cortex-m7"),
}
INSTRUCTIONS_A_TICK = 40  # 25 MHz, and a nanosecond an instruction
STACK = 4096  # that the linker script sets aside
PICTURE = 3 * 32 * 32  # bytes of the image that is compiled into the program
CODE_STEP, STACK_STEP = 256, 64  # code and stack are rounded up to these: compilers differ
ANCHOR = (  # a row of the table, published by others
    *("ResNet-8, STM32's model zoo", "int8", "85.59", "", "133", "", "69.7", "", "", "", ""),
)
ANCHORS = (
    "The last row is published by others: ResNet-8 in int8, of STM32's model zoo, 85.59 % (87.01 % "
    "in float) on the original images. ResNet-8 has 12.5 million multiply-accumulates; MLPerf Tiny "
    "v1.1 lists it on a Cortex-M4 at 120 MHz with 168 ms (Plumerai, 1.6 cycles a "
    "multiply-accumulate), 179 ms (Bosch HALE), 214 ms (X-CUBE-AI 8.1) and 390 ms (microTVM, 3.7 "
    "cycles), and on a Cortex-M7 at 280 MHz with 46.8 ms (1.05 cycles). Those are cycles of real "
    "boards, published by others; the table has instructions, of which a processor may need more "
    "cycles (loads, flash that waits) or, on the M7, fewer (two at a time)."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000, help="test images for the accuracy")
    given = parser.parse_args()
    try:
        rows = [row for model in MODELS for row in measure_model(model, given.images)]
    except MaamError as error:
        print(f"microcontroller: {error}", file=sys.stderr)
        sys.exit(2)
    report = {
        "command": "python benchmarks/microcontroller.py",
        "tools": [version(tool) for tool in ("arm-none-eabi-gcc", "qemu-system-arm")],
        "environment": environment(),
        "rows": rows,
    }
    write_atomic(ROOT / "results" / "microcontroller.json", json.dumps(report, indent=1) + "\n")
    write_atomic(ROOT / "docs" / "microcontroller.md", page(report))
    write_atomic(MEASURED, json.dumps(measured(rows), indent=1) + "\n")


def measure_model(model: str, images: int) -> list[dict[str, Any]]:
    """Rows of a shipped model: each precision on each processor."""
    run = shipped_run(model)
    macs = run.read_meta().deployed["macs"]
    rows = []
    for precision in PRECISIONS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "c"
            write_c(run, folder, precision)
            accuracy = score(run, precision, folder, images)
            call("make", "-s", "-C", str(folder), "arm")
            for processor in BOARDS:
                row = {
                    "model": model,
                    "precision": precision,
                    "accuracy": accuracy,
                    "processor": processor,
                    **measure_program(folder, processor, macs),
                }
                print(row)
                rows.append(row)
    return rows


def measure_program(folder: Path, processor: str, macs: int) -> dict[str, Any]:
    """What the programs in a folder need on a processor.

    Raises:
        MaamError: they do not build or run, or the golden images get other logits.
    """
    suffix, board, cpu = BOARDS[processor]
    qemu = [
        *("qemu-system-arm", "-display", "none", "-monitor", "none", "-serial", "none"),
        *("-icount", "shift=0", "-M", board, "-cpu", cpu, "-chardev", "stdio,id=out"),
        *("-semihosting-config", "enable=on,target=native,chardev=out", "-kernel"),
    ]
    program = folder / f"classify-{suffix}.elf"
    call(*qemu, str(folder / f"golden_test-{suffix}.elf"))
    said = call(*qemu, str(program))
    stack, ticks = (int(number) for number in re.findall(r": (\d+)\n", said))
    _, sizes = call("arm-none-eabi-size", str(program)).splitlines()
    text, data, bss = (int(number) for number in sizes.split()[:3])
    constants, arena = (
        int(re.search(pattern, (folder / name).read_text())[1])  # pyright: ignore
        for name, pattern in (
            ("model.c", r"no_gaps_in_block\[sizeof block == (\d+)"),
            ("model.h", r"MODEL_ARENA_BYTES (\d+)"),
        )
    )
    instructions = ticks * INSTRUCTIONS_A_TICK
    return {
        "flash": text + data,
        "constants": constants,
        "ram": data + bss - STACK + stack,
        "arena": arena,
        "stack": stack,
        "instructions": instructions,
        "macs": macs,
        "instructions_per_mac": round(instructions / macs, 3),
    }


def score(run: RunFolder, precision: Any, folder: Path, images: int) -> float:
    """The accuracy of the exported kernels, built for this computer, on test images."""
    sources = [folder / name for name in (*SHARED, *KERNELS[precision]) if name.endswith(".c")]
    library = folder / "kernels.so"
    call("cc", "-O3", "-march=native", "-shared", "-fPIC", "-o", str(library), *map(str, sources))
    classify = getattr(ctypes.CDLL(str(library)), f"maam_run_{precision}")
    kind = ctypes.c_int16 if precision == "int8" else ctypes.c_float
    classify.restype = ctypes.POINTER(kind)
    meta = run.read_meta()
    how = Preprocessing.from_dict(meta.preprocessing)
    block = make_block(load_network(run, precision), how)
    constants = np.frombuffer(block.to_bytes(), np.uint32)
    arena = np.zeros(block.head["arena_bytes"] // 8, np.uint64)
    addresses = [ctypes.c_void_p(array.ctypes.data) for array in (constants, arena)]
    split = load_dataset(meta.data).test
    split = split.take(np.arange(min(images, len(split))))
    right = 0
    for pixels, label in zip(split.pixels(), split.labels.tolist(), strict=True):
        image = ctypes.c_void_p(np.ascontiguousarray(pixels).ctypes.data)
        logits = classify(addresses[0], image, addresses[1])[: len(meta.classes)]
        right += max(range(len(logits)), key=logits.__getitem__) == label
    return right / len(split)


def page(report: dict[str, Any]) -> str:
    """The text of docs/microcontroller.md."""
    header = (
        *("Model", "Precision", "Accuracy %", "Processor", "Flash KiB", "of it constants"),
        *("RAM KiB", "of it arena", "of it stack", "Instructions (M)", "per MAC"),
    )
    table = [
        (
            row["model"],
            row["precision"],
            f"{100 * row['accuracy']:.2f}",
            row["processor"],
            *(f"{row[key] / 1024:.1f}" for key in ("flash", "constants", "ram", "arena", "stack")),
            f"{row['instructions'] / 1e6:.1f}",
            f"{row['instructions_per_mac']:.2f}",
        )
        for row in report["rows"]
    ]
    table.append(ANCHOR)
    return f"""# On a microcontroller

Written by `{report["command"]}`, from results/microcontroller.json; built and run with
{" and ".join(report["tools"])}.

{markdown_table(header, table)}

- Flash is code and constants of the whole program `classify`: start-up, kernels, model, and one
  image of 3 KiB. RAM is the arena, in which the image lies too, other variables, and the stack in
  use, which is painted before the run and looked at after it.
- Instructions are of one image, counted by qemu. They are not cycles.
- Accuracy is of the same kernels on a computer, on the test images of this repository's copy of
  CIFAR-10 (JPEG), which costs every network a little. On both processors the golden images get the
  logits of the reference: int8 equal, float32 within 1e-4.
- int8 uses the processors' dual 16-bit multiply-accumulate (SMLAD): two rows of weights times two
  pixels in the dense and 1x1 layers, two columns at once in the depthwise ones. The rest is
  loading, widening 8 bits to 16, and bringing sums back to 8 bits. float32 uses the floating-point
  unit.

## Beside others

{ANCHORS}

[How to export](deployment.md#a-microcontroller).
"""


def measured(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """precision -> the most bytes of code, of variables but the arena, and of stack in rows."""
    names = bytes_of_names(shipped_run(MODELS[0]).read_meta().classes)

    def most(precision: str, bytes_of: Callable[[dict[str, Any]], int], step: int) -> int:
        size = max(bytes_of(row) for row in rows if row["precision"] == precision)
        return -(-size // step) * step

    return {
        precision: {
            "code": most(
                precision, lambda r: r["flash"] - r["constants"] - PICTURE - names, CODE_STEP
            ),
            "variables": most(precision, lambda r: r["ram"] - r["arena"] - r["stack"], 1),
            "stack": most(precision, lambda r: r["stack"], STACK_STEP),
        }
        for precision in PRECISIONS
    }


def version(tool: str) -> str:
    """The first line of a tool's version.

    Raises:
        MaamError: it is not installed.
    """
    if not shutil.which(tool):
        raise MaamError(f"{tool} is not installed: see the head of this file")
    return call(tool, "--version").splitlines()[0]


def call(*command: str) -> str:
    """Run a command; what it prints.

    Raises:
        MaamError: it failed.
    """
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        said: Sequence[str] = (ran.stdout + ran.stderr).strip().splitlines() or ["no message"]
        raise MaamError(f"{Path(command[0]).name} failed: {said[-1]}")
    return ran.stdout


if __name__ == "__main__":
    main()
