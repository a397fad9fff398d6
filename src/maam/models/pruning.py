"""Structured pruning of MAAMNet, on named NumPy arrays: whole channels go, no framework.

A stage's blocks add to one map, so they share its channels: a channel goes from all of them, or
from none. It counts by what is written into it times what is read of it:

- BatchNorm ends all that is written, so its scale gamma is the deviation of what a block adds to a
  channel; the root of the sum of their squares is that of the map. (Liu et al., ICCV 2017, arXiv
  1708.06519, rank channels by gamma.)
- Every block that reads the map sees a channel by itself, at the scale of its own BatchNorm, times
  the norm of the channel's column in the 1x1 kernel, folded; the last layer by its column. (Li et
  al., ICLR 2017, arXiv 1608.08710, rank filters by the norms of kernels, and the channels of
  residual stages jointly.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from maam.models.folding import Norm, fold_norm
from maam.models.widths import NARROWEST, Stages

MULTIPLE = 8  # widths: what vector instructions take at a time

Arrays = Mapping[str, np.ndarray]


def pruned_stages(stages: Stages, keep: float) -> Stages:
    """The stages with a share of their channels: multiples of 8, at least 8.

    Args:
        stages: (channels, blocks) of each.
        keep: more than 0, at most 1.
    """
    return tuple(
        (min(wide, max(NARROWEST, int(keep * wide / MULTIPLE + 0.5) * MULTIPLE)), count)
        for wide, count in stages
    )


def fits_into(narrow: Stages, wide: Stages) -> bool:
    """Whether pruning one MAAMNet can give the other: as many blocks, and no more channels."""
    return [count for _, count in narrow] == [count for _, count in wide] and all(
        channels <= before for (channels, _), (before, _) in zip(narrow, wide, strict=True)
    )


def prune_arrays(arrays: Arrays, stages: Stages, narrower: Stages) -> dict[str, np.ndarray]:
    """A MAAMNet's weights with the channels of each stage that count most, in their order.

    Args:
        arrays: weights and statistics by name, such as ``blocks.0.reduce.conv.weight``.
        stages: (channels, blocks) of each stage of the network.
        narrower: of the network to make; ``fits_into`` holds.
    """
    pruned = dict(arrays)
    first, before = 0, np.arange(stages[0][0])
    for stage, ((_, count), (channels, _)) in enumerate(zip(stages, narrower, strict=True)):
        blocks = [f"blocks.{number}" for number in range(first, first + count)]
        writers = [f"{block}.reduce" for block in blocks]
        readers = [*blocks[1:], f"blocks.{first + count}"]  # the last is the next stage's first
        if stage == 0:
            writers, readers = ["stem", *writers], [blocks[0], *readers]
        if stage == len(stages) - 1:
            readers[-1] = "classifier"
        importance = _written(arrays, writers) * sum(_read(arrays, name) for name in readers)
        kept = np.sort(np.argsort(-importance, kind="stable")[:channels])
        before = before if stage else kept
        _take(pruned, writers, kept)
        for block in blocks:  # the first reads the maps of the stage before
            _take(pruned, [f"{block}.layer"], before)
            name = f"{block}.reduce.conv.weight"
            pruned[name] = pruned[name][:, before]
            before = kept
        first += count
    pruned["classifier.weight"] = pruned["classifier.weight"][:, before]
    return pruned


def _written(arrays: Arrays, writers: Iterable[str]) -> np.ndarray:
    """The deviation of a map's channels (C,), were what is added up independent."""
    squares = [arrays[f"{writer}.norm.gamma"].astype(np.float64) ** 2 for writer in writers]
    return np.sqrt(np.sum(squares, 0))


def _read(arrays: Arrays, reader: str) -> np.ndarray:
    """How much a block, or the last layer, makes of each channel (C,)."""
    if reader == "classifier":
        return np.linalg.norm(arrays[f"{reader}.weight"].astype(np.float64), axis=0)
    norm = Norm(*(arrays[f"{reader}.reduce.norm.{name}"] for name in Norm.__annotations__))
    kernel, _ = fold_norm(arrays[f"{reader}.reduce.conv.weight"].astype(np.float64), norm)
    scale = np.abs(arrays[f"{reader}.layer.norm.gamma"].astype(np.float64))
    return scale * np.sqrt((kernel**2).sum((0, 2, 3)))


def _take(arrays: dict[str, np.ndarray], layers: Iterable[str], channels: np.ndarray) -> None:
    """Leave some channels alone of all that layers have for each of their channels."""
    prefixes = tuple(f"{layer}." for layer in layers)
    for name, array in arrays.items():
        if name.startswith(prefixes) and not name.endswith("fusion.alpha"):
            arrays[name] = array[channels]
