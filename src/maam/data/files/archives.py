"""Read chosen files out of a tar or zip archive, in memory, without trusting the archive."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from maam.core.errors import MaamError


@dataclass(frozen=True)
class Limits:
    """How many bytes an archive may unpack to: each file, and all of it."""

    member: int = 256 * 2**20
    total: int = 8 * 2**30


LIMITS = Limits()

Allow = Callable[[str], object] | re.Pattern[str]
Others = Callable[[str, str], object]

_OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_DAMAGE = (
    OSError,  # includes gzip.BadGzipFile
    EOFError,
    RuntimeError,  # zipfile: an encrypted member, an unknown compression (NotImplementedError)
    ValueError,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_members(
    path: Path, allow: Allow, limits: Limits = LIMITS, others: Others | None = None
) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the regular files in an archive whose name is allowed.

    The format (.tar, .tar.gz, .tar.bz2, .tar.xz, .zip) is told from the content, not the file
    name. Names are normalised to ``a/b/c``. Links, devices and folders are skipped. Nothing is
    written to disk.

    Args:
        path: the archive.
        allow: says by name which files to read: a pattern that must match the whole name, or a
            function.
        limits: of what it may unpack to.
        others: told of all that is no regular file: its name, and ``folder``, ``link`` or
            ``device``.

    Raises:
        MaamError: the archive cannot be read, is damaged or cut short (the last bytes are read
            and checksums compared before the iteration ends), has an absolute name or ``..`` in
            a name, or unpacks to more than ``limits``.
    """
    allowed = allow.fullmatch if isinstance(allow, re.Pattern) else allow
    try:
        with open(path, "rb") as file:
            start = file.read(6)
        if start.startswith(b"PK"):
            yield from _read_zip(path, allowed, limits, others)
        else:
            opener = next((o for magic, o in _OPENERS.items() if start.startswith(magic)), open)
            with opener(path, "rb") as unpacked:
                yield from _read_tar(path, unpacked, allowed, limits, others)
    except _DAMAGE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise MaamError(
            f"{path}: not a readable archive, or damaged or cut short ({reason}); get it again"
        ) from error


def _read_tar(
    path: Path,
    unpacked: IO[bytes],
    allowed: Callable[[str], object],
    limits: Limits,
    others: Others | None,
) -> Iterator[tuple[str, bytes]]:
    stream, total = _Bounded(unpacked, path, limits), 0
    with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[arg-type]
        for member in archive:
            name = _normalised(member.name, path)
            if not member.isreg():
                if others:
                    linked = member.issym() or member.islnk()
                    others(name, "folder" if member.isdir() else "link" if linked else "device")
            elif allowed(name):
                total += member.size  # of a sparse file more than lies in the archive
                _check_size(member.size, name, path, limits)
                _check_total(total, path, limits)
                content = archive.extractfile(member)
                assert content is not None
                yield name, content.read()
        # tarfile takes a broken header for the end of the archive: ask for the real end mark,
        # then read on to the end of the file, where gzip, bzip2 and xz keep their checksum.
        stream.seek(archive.offset)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("no end mark")
        while stream.read(tarfile.RECORDSIZE):
            pass


def _read_zip(
    path: Path, allowed: Callable[[str], object], limits: Limits, others: Others | None
) -> Iterator[tuple[str, bytes]]:
    total = 0
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = _normalised(member.filename, path)
            mode = stat.S_IFMT(member.external_attr >> 16)  # 0 when made on a system without modes
            folder = member.filename.endswith("/")  # ``is_dir`` fails for an empty name
            if folder or mode not in (0, stat.S_IFREG):
                if others:
                    linked = mode == stat.S_IFLNK
                    others(name, "folder" if folder else "link" if linked else "device")
            elif allowed(name):
                total += member.file_size
                _check_size(member.file_size, name, path, limits)
                _check_total(total, path, limits)
                yield name, archive.read(member)  # reads at most file_size bytes


class _Bounded:
    """A stream for tarfile that stops at the size limits, also inside headers and skipped files."""

    def __init__(self, stream: IO[bytes], path: Path, limits: Limits) -> None:
        self.stream = stream
        self.path, self.limits = path, limits
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        _check_size(size, "a header", self.path, self.limits)
        content = self.stream.read(size)
        _check_total(self.stream.tell(), self.path, self.limits)
        return content

    def seek(self, position: int) -> int:
        _check_total(position, self.path, self.limits)
        return self.stream.seek(position)


def _normalised(name: str, path: Path) -> str:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or re.match("[A-Za-z]:", name):
        raise MaamError(f"{path}: refused, because it has a file outside its own folder: {name!r}")
    return str(parts)


def _check_size(size: int, name: str, path: Path, limits: Limits) -> None:
    if size > limits.member:
        raise MaamError(
            f"{path}: refused, because {name} unpacks to more than {limits.member:,} bytes"
        )


def _check_total(total: int, path: Path, limits: Limits) -> None:
    if total > limits.total:
        raise MaamError(f"{path}: refused, because it unpacks to more than {limits.total:,} bytes")
