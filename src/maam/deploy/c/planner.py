"""Where the maps of a network lie in one arena, so that little RAM does.

A map may be overwritten once no later layer reads it. A layer that reads a dying map by rows may
write over it while it reads: its output begins so far below its input that a row is written only
where no row lies that is still needed. Going from the last row to the first, the same holds above.
So a block of a network needs about one map, and residual blocks take turns down and up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maam.deploy.int8 import Int8Convolution, Int8Layer, Int8Network
from maam.deploy.layers import Convolution, Layer, LayeredNetwork, Shape

_ALIGNMENT = 8  # bytes
_FLOAT = 4
_STRIP = 2048  # bytes of scratch memory in which maam_int8_dsp.h puts several pixels


@dataclass(frozen=True)
class Span:
    """Bytes ``start`` to ``end`` of the arena."""

    start: int
    end: int

    def meets(self, other: Span) -> bool:
        """Whether any byte is in both."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class Plan:
    """Places in the arena, in bytes.

    Attributes:
        size: of the arena.
        maps: where each map lies, numbered as in ``Layer.inputs``: the image first.
        scratch: where each layer has its scratch memory.
        backwards: whether each layer computes its rows from the last to the first.
        kept: the number of the map that a final ``mean`` reads, and which is not overwritten; None
            where the network ends otherwise.
    """

    size: int
    maps: tuple[int, ...]
    scratch: tuple[int, ...]
    backwards: tuple[bool, ...]
    kept: int | None


def plan_arena(network: LayeredNetwork | Int8Network) -> Plan:
    """Places for all maps of a network."""
    shapes = [network.image, *(layer.shape for layer in network.layers)]
    sizes = [_size(network, number, shape) for number, shape in enumerate(shapes)]
    last_read = {
        number: index for index, layer in enumerate(network.layers) for number in layer.inputs
    }
    kept = kept_map(network)
    int8 = isinstance(network, Int8Network)
    last_read[len(network.layers)] = len(network.layers)
    if kept is not None:
        last_read[kept] = len(network.layers)
    spans = [Span(0, sizes[0])]
    scratch, backwards = [], []
    for index, layer in enumerate(network.layers):
        source = layer.inputs[0]
        live = {n: span for n, span in enumerate(spans) if last_read.get(n, -1) >= index}
        dying = None
        if layer.kind in ("conv", "block", "pool") and last_read[source] == index:
            dying = live.pop(source)
        width = sizes[source] // shapes[source][0], sizes[index + 1] // layer.shape[0]
        gaps = _gaps(layer, shapes[source][0], *width)
        need = scratch_bytes(layer, shapes[source], int8)
        span, room, down = _place(sizes[index + 1], need, list(live.values()), dying, gaps)
        spans.append(span)
        scratch.append(room.start)
        backwards.append(not down)
    top = [span.end for span in spans]
    rooms = [
        start + scratch_bytes(layer, shapes[layer.inputs[0]], int8)
        for start, layer in zip(scratch, network.layers, strict=True)
    ]
    maps = tuple(span.start for span in spans)
    return Plan(_align(max(top + rooms)), maps, tuple(scratch), tuple(backwards), kept)


def kept_map(network: LayeredNetwork | Int8Network) -> int | None:
    """The number of the map whose mean the last layer makes logits of; None: there is none."""
    if len(network.layers) < 2:
        return None
    mean, dense = network.layers[-2:]
    alone = dense.kind == "conv" and dense.convolutions[0].weight.shape[1:3] == (1, 1)
    return mean.inputs[0] if mean.kind == "mean" and alone else None


def scratch_bytes(layer: Layer | Int8Layer, shape: Shape, int8: bool) -> int:
    """The scratch memory of a layer, in bytes, enough for every form of the kernels.

    Args:
        layer: the layer.
        shape: (H, W, C) of its first input.
        int8: its precision; float32 else.
    """
    if not layer.convolutions:
        return 0
    conv = layer.convolutions[0]
    _, rows, columns, depth = conv.weight.shape
    width, channels = layer.shape[1], shape[2]
    if layer.kind == "conv":
        values = rows * columns * depth
        pair = 16 * -(-values // 4)  # of two pixels; more of them, if they are small
        pairs = min(max(_STRIP // pair, 1), -(-width // 2))
        return _align(pairs * pair if int8 else _FLOAT * values)
    if not int8:
        return _align(_FLOAT * width * channels)
    pairs = (columns + 1) // 2
    reach = conv.stride * (-(-width // 4) * 4 - 1) + 2 * pairs
    length = max(reach, shape[1] + 2 * conv.padding) + 1 & ~1
    weights = 4 * channels * rows * pairs
    line = 16 * -(-channels // 4) * -(-width // 2)
    planes = 2 * 4 * rows * length
    plain = 4 * channels + width * channels
    return _align(max(weights + line + planes, plain))


def _size(network: LayeredNetwork | Int8Network, number: int, shape: Shape) -> int:
    """Bytes of a map."""
    height, width, channels = shape
    values = height * width * channels
    if isinstance(network, LayeredNetwork):
        return _FLOAT * values
    return 2 * values if number == len(network.layers) else values


def _gaps(layer: Layer | Int8Layer, height: int, row: int, made: int) -> tuple[int, int]:
    """How many bytes the output must lie below a dying input, or above it, to be written over it.

    Args:
        layer: of kind conv, block or pool.
        height: of the input.
        row: bytes of a row of the input.
        made: bytes of a row of the output.
    """
    below = above = 0
    for y in range(layer.shape[0]):
        first, last = _needed(layer, height, y, 1)
        below = max(below, (y + 1) * made - first * row)
        first, last = _needed(layer, height, y, -1)
        above = max(above, (last + 1) * row - y * made)
    return below, above


def _needed(layer: Layer | Int8Layer, height: int, y: int, step: int) -> tuple[int, int]:
    """The first and the last row of the input that are still read once row y is being written.

    Args:
        layer: its rows are made in order of ``step``, 1 or -1.
        height: of the input.
        y: the row.
        step: to the next one.
    """
    if layer.kind == "block":  # the row is computed into a line before it is written
        residual = (y, y) if layer.residual else (height, -1)
        after = y + step
        if not 0 <= after < layer.shape[0]:
            return residual
        first, last = _window(layer.convolutions[0], height, after)
        return min(first, residual[0]), max(last, residual[1])
    if layer.kind == "conv":
        return _window(layer.convolutions[0], height, y)
    return 2 * y, 2 * y + 1


def _window(conv: Convolution | Int8Convolution, height: int, y: int) -> tuple[int, int]:
    top = y * conv.stride - conv.padding
    bottom = top + conv.weight.shape[1] - 1
    return min(max(top, 0), height - 1), max(min(bottom, height - 1), 0)


def _place(
    size: int, need: int, live: Sequence[Span], dying: Span | None, gaps: tuple[int, int]
) -> tuple[Span, Span, bool]:
    """The place of an output and of the scratch memory, and whether rows go from the first on.

    Of all places the one that ends lowest.

    Args:
        size: of the output.
        need: of the scratch memory.
        live: what must stay.
        dying: the input, if it may be written over.
        gaps: see ``_gaps``.
    """
    taken = [*live, *([dying] if dying else [])]
    starts = {0, *(_align(span.end) for span in taken)}
    if dying:
        starts.add(_align(dying.start + gaps[1]))
    options = []
    for start in starts:
        span = Span(start, start + size)
        if any(span.meets(other) for other in live):
            continue
        down = True
        if dying and span.meets(dying) and start > dying.start - gaps[0]:
            down = False
            if start < dying.start + gaps[1]:
                continue
        room = _free([*taken, span], need)
        options.append((max(span.end, room.end), start, span, room, down))
    _, _, span, room, down = min(options, key=lambda option: option[:2])
    return span, room, down


def _free(taken: Sequence[Span], size: int) -> Span:
    """The lowest span of a size that meets none of those taken."""
    starts = sorted({0, *(_align(span.end) for span in taken)})
    spans = (Span(start, start + size) for start in starts)
    return next(span for span in spans if not any(span.meets(other) for other in taken))


def _align(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
