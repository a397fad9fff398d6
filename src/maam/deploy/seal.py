"""The checksum that an ONNX file carries over all the rest of itself.

It is the last entry of the file's metadata: protobuf's fields may stand in any order, so a file
with it appended is the same model to every reader. A changed bit anywhere, or a missing end, is
noticed. It guards against damage, not against a forger.
"""

from __future__ import annotations

import hashlib

KEY = "maam.sha256"

_DIGITS = 64
# ModelProto.metadata_props (14) of one StringStringEntryProto: key (1), value (2); see onnx.proto.
_HEAD = bytes(
    [14 << 3 | 2, 4 + len(KEY) + _DIGITS, 1 << 3 | 2, len(KEY), *KEY.encode(), 2 << 3 | 2, _DIGITS]
)


def seal(content: bytes) -> bytes:
    """The file with its checksum appended."""
    return content + _HEAD + hashlib.sha256(content).hexdigest().encode()


def is_sealed(content: bytes) -> bool:
    """Whether a checksum stands at the end of a file, right or wrong."""
    return content[:-_DIGITS].endswith(_HEAD)


def is_intact(content: bytes) -> bool:
    """Whether a checksum stands at the end of a file and is that of the rest."""
    if not is_sealed(content):
        return False
    body = memoryview(content)[: -len(_HEAD) - _DIGITS]
    return hashlib.sha256(body).hexdigest().encode() == content[-_DIGITS:]
