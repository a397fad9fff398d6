"""What a network needs on a Cortex-M as C: the planner's bytes, and those of the kernels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from maam.core.footprint import Footprint
from maam.core.run_meta import RunMeta
from maam.data.preprocessing import Preprocessing
from maam.deploy.c.block import Block, make_block
from maam.deploy.quantization import with_limits
from maam.deploy.reading import layered

MEASURED = Path(__file__).with_name("measured.json")
"""precision -> bytes of code, and of variables and stack, the most of what was seen on Cortex-M4
and M7; ``python benchmarks/microcontroller.py`` writes it."""

_POINTER = 4


def footprint(block: Block, classes: Sequence[str]) -> Footprint:
    """What the program of an exported folder needs, but for the picture that is compiled into it.

    Args:
        block: the network.
        classes: their names, which are part of the program.
    """
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))[block.precision]
    return Footprint(
        flash=block.head["bytes"] + bytes_of_names(classes) + measured["code"],
        ram=block.head["arena_bytes"] + measured["variables"] + measured["stack"],
    )


def estimate(meta: RunMeta, tensors: Mapping[str, np.ndarray]) -> Footprint:
    """What a network will need in int8, trained or not: that goes by its shapes alone.

    Args:
        meta: model, classes and image size.
        tensors: all tensors of the network by name, as best.safetensors holds them.

    Raises:
        MaamError: C is not written for its model.
    """
    network = layered(meta, tensors)
    limits = [[1.0] * max(1, len(layer.convolutions)) for layer in network.layers]
    integers = with_limits(network, Preprocessing.from_dict(meta.preprocessing), limits)
    return footprint(make_block(integers), meta.classes)


def bytes_of_names(classes: Sequence[str]) -> int:
    """What the names of classes take in flash: a pointer each, and a text that ends at a word."""
    texts = (len(name.encode("utf-8", "replace")) + 1 for name in classes)
    return sum(_POINTER + -(-size // _POINTER) * _POINTER for size in texts)
