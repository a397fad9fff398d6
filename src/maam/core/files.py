"""Writing files that matter: to a temporary name, flushed, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from maam.core.errors import MaamError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; renamed to ``path`` if all went well.

    A link stays: what it points to is replaced.

    Raises:
        MaamError: the folder can't be written to, the disk is full, or ``path`` is a folder, a
            device or a pipe.
    """
    if path.exists() and not path.is_file():
        raise MaamError(f"cannot write {path}: it is not a regular file, name another")
    path = path.resolve()
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(6)}.tmp{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise MaamError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # e.g. the folder is a file
            temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes to ``path``, all or nothing."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def check_regular(path: Path) -> None:
    """Check that a path does not lead to a folder, a device or a pipe, which may have no end.

    What is missing passes.

    Raises:
        MaamError: it does.
    """
    try:
        other = path.exists() and not path.is_file()
    except OSError as error:
        raise MaamError(f"cannot read {path}: {error.strerror or error}") from None
    if other:
        raise MaamError(f"{path} is not a regular file: restore it from a copy")


def check_writable(path: Path) -> None:
    """Check, before work that takes long, that a file can be written to.

    Raises:
        MaamError: its folder is not there, or it is a folder, a device or a pipe.
    """
    try:
        folder, other = path.absolute().parent.is_dir(), path.exists() and not path.is_file()
    except OSError as error:
        raise MaamError(f"cannot write {path}: {error.strerror or error}") from None
    if not folder:
        raise MaamError(f"cannot write {path}: there is no folder {path.parent}")
    if other:
        raise MaamError(f"cannot write {path}: it is not a regular file, name another")


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        MaamError: it can't be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MaamError(f"cannot make the folder {path}: {error.strerror or error}") from None


@contextmanager
def locked(path: Path, taken: str) -> Iterator[None]:
    """Hold a lock file, which is made if need be and stays, against other processes.

    Args:
        path: the file.
        taken: what to say when another process holds it.

    Raises:
        MaamError: another process holds it, or it can't be written to.
    """
    import fcntl  # not on every system, where all else here works

    try:
        file = path.open("w")
    except OSError as error:
        raise MaamError(f"cannot write {path}: {error.strerror or error}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MaamError(taken) from None
        except OSError as error:
            raise MaamError(f"cannot lock {path}: {error.strerror or error}") from None
        yield


def cache_dir() -> Path:
    """The folder for downloads and decoded images: MAAM_CACHE, or ``~/.cache/maam``."""
    return Path(os.path.expanduser(os.environ.get("MAAM_CACHE") or "~/.cache/maam"))
