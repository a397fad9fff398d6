"""What an ONNX file may hold before ONNX Runtime sees it. Reads protobuf without a package.

ONNX Runtime trusts a file: it opens others that are named in it, and makes tensors of any size. A
size that the graph computes is not seen here.
Fields and their numbers are those of onnx.proto (https://github.com/onnx/onnx).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

from maam.core.errors import MaamError

MAX_BYTES = 2**29  # of a file
MAX_VALUES = 2**27  # of a tensor: 512 MiB of float32
MAX_SIDE = 2**16  # of an input

_DOMAINS = ("", "ai.onnx")
_DEPTH = 8  # of graphs within graphs
# What runs for ever, or is not repeatable.
_FORBIDDEN = ("Loop", "Scan", "RandomNormal", "RandomUniform", "Multinomial", "Bernoulli")
# Operators that make a tensor as large as a constant says -> the place of that input.
_SIZED = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "Reshape": 1, "Resize": 3, "Range": 1}
_SIZED |= {"OneHot": 1, "Pad": 1, "EyeLike": 0, "Upsample": 1, "CenterCropPad": 1}
_INT64 = 7  # TensorProto.INT64

Bytes = memoryview


@dataclass
class _Names:
    """Constants of a file that may be sizes: name -> the product of their values."""

    sizes: dict[str, int] = field(default_factory=dict)


def check_content(content: bytes, name: str) -> None:
    """Refuse a file that ONNX Runtime should not open.

    Args:
        content: the file.
        name: for the error.

    Raises:
        MaamError: it is no ONNX, keeps weights in other files, has operators that are not ONNX's
            own or that may run for ever, or makes tensors of more than ``MAX_VALUES`` values.
    """
    try:
        _check_model(memoryview(content))
    except _Refused as refused:
        raise MaamError(f"{name}: {refused}") from None
    except (ValueError, IndexError, RecursionError):
        raise MaamError(f"{name} is damaged or not ONNX: restore it, or export it anew") from None


class _Refused(Exception):
    """Why a file is refused."""


def _check_model(model: Bytes) -> None:
    graphs = 0
    for number, value in _fields(model):
        if number == 7:
            graphs += 1
            _check_graph(_message(value), _Names(), 0)
        elif number == 8:
            _check_domain(_text(_message(value), 1))
        elif number == 25:
            raise _Refused("it defines functions, which maam does not export")
    if graphs != 1:
        raise ValueError("no graph, or several")


def _check_graph(graph: Bytes, names: _Names, depth: int) -> None:
    if depth > _DEPTH:
        raise _Refused("its graphs are nested too deeply")
    entries = list(_fields(graph))
    for number, value in entries:
        if number == 5:
            _check_tensor(_message(value), names)
        elif number == 11:
            _check_input(_message(value))
        elif number == 15:
            raise _Refused("it has sparse weights, which maam does not export")
    for number, value in entries:
        if number == 1:
            _check_node(_message(value), names, depth)


def _check_node(node: Bytes, names: _Names, depth: int) -> None:
    kind, inputs, outputs = _text(node, 4), [], []
    for number, value in _fields(node):
        if number == 1:
            inputs.append(str(_message(value), "utf-8"))
        elif number == 2:
            outputs.append(str(_message(value), "utf-8"))
        elif number == 5:
            _check_attribute(_message(value), kind, outputs, names, depth)
        elif number == 7:
            _check_domain(str(_message(value), "utf-8"))
    if kind.startswith(_FORBIDDEN):
        raise _Refused(f"it has an operator {kind[:40]!r}, which maam does not export")
    place = _SIZED.get(kind)
    if place is not None and place < len(inputs):
        _check_size(names.sizes.get(inputs[place], 0))


def _check_attribute(
    attribute: Bytes, kind: str, outputs: list[str], names: _Names, depth: int
) -> None:
    for number, value in _fields(attribute):
        if number in (5, 10):
            name = outputs[0] if kind == "Constant" and outputs else ""
            _check_tensor(_message(value), names, name)
        elif number in (6, 11):
            _check_graph(_message(value), names, depth + 1)
        elif number in (22, 23):
            raise _Refused("it has sparse weights, which maam does not export")


def _check_input(value: Bytes) -> None:
    """Of an input's fixed sides none may be longer than an image's."""
    for place in (2, 1, 2):  # its type, the tensor's, its shape
        found = [_message(each) for number, each in _fields(value) if number == place]
        if not found:
            return
        value = found[0]
    for number, side in _fields(value):
        for kind, length in _fields(_message(side)) if number == 1 else ():
            if kind == 1 and _number(length) > MAX_SIDE:
                raise _Refused(f"its input has a side of {length:.2g}: at most {MAX_SIDE}")


def _check_tensor(tensor: Bytes, names: _Names, name: str = "") -> None:
    dims: list[int] = []
    values: list[int] = []
    kind = 0
    for number, value in _fields(tensor):
        if number == 1:
            dims += _integers(value)
        elif number == 2:
            kind = _number(value)
        elif number == 7:
            values += _few(value)
        elif number == 8:
            name = str(_message(value), "utf-8")
        elif number == 9 and kind == _INT64 and len(_message(value)) <= 8 * 16:
            raw = _message(value)
            values += [int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)]
        elif number == 13 or (number == 14 and value):
            raise _Refused("it keeps weights in other files, which maam does not: export it whole")
    if any(side >= 2**63 for side in dims):
        raise _Refused("a tensor has a negative size")
    _check_size(prod(dims))
    names.sizes[name] = prod(max(1, each if each < 2**63 else 2**64 - each) for each in values)


def _check_size(values: int) -> None:
    if values > MAX_VALUES:
        raise _Refused(f"a tensor of {values:.2g} values is too large: at most {MAX_VALUES:.2g}")


def _check_domain(domain: str) -> None:
    if domain not in _DOMAINS:
        raise _Refused(f"it has operators of {domain[:40]!r}, which are not ONNX's own")


def _fields(message: Bytes) -> Iterator[tuple[int, int | Bytes]]:
    """Number and value of each field: an integer, or the bytes of what has a length."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        else:
            size = {1: 8, 5: 4}[kind] if kind in (1, 5) else end  # 3 and 4 are of older formats
        if at + size > end:
            raise ValueError("a field is longer than its message")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: Bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _message(value: int | Bytes) -> Bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return value


def _number(value: int | Bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("a message where a number belongs")
    return value


def _text(message: Bytes, wanted: int) -> str:
    """A field of a message as text; empty without it."""
    for number, value in _fields(message):
        if number == wanted:
            return str(_message(value), "utf-8")
    return ""


def _integers(value: int | Bytes) -> list[int]:
    """One number, or several packed."""
    if isinstance(value, int):
        return [value]
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(number)
    return found


def _few(value: int | Bytes) -> list[int]:
    """The numbers, if there are as few as in a shape."""
    return [] if isinstance(value, memoryview) and len(value) > 160 else _integers(value)
