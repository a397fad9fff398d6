"""Writing files and folders that matter: to a temporary name, flushed, then renamed."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from maam.core.errors import MaamError
from maam.core.signals import check_signals

_FILLED = ".maam-{}.tmp"  # a folder that is being filled


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


def delete_unfinished(*paths: Path) -> None:
    """Delete what processes that were killed have left of ``atomic_path``; none may be at it."""
    for path in paths:
        for file in path.parent.glob(f".{path.stem}.{'[0-9a-f]' * 12}.tmp{path.suffix}"):
            file.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes to ``path``, all or nothing.

    Of names in other encodings, which can't be text, the bytes are spelled out.
    """
    data = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new folder beside ``path`` to fill; renamed to ``path`` if all went well.

    What a process that was killed has left beside it is deleted.

    Raises:
        MaamError: a folder can't be made or written to, the disk is full, or something is at
            ``path`` by then. Nothing is left.
    """
    temporary = path.with_name(_FILLED.format(secrets.token_hex(6)))
    with parents_made(path):
        try:
            with _held(temporary):
                _delete_abandoned(path.parent)
                yield temporary
                temporary.rename(path)
        except OSError as error:
            raise MaamError(f"cannot write {path}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def parents_made(path: Path) -> Iterator[None]:
    """Make the folders above ``path``; if anything is raised, those it made are removed again.

    Raises:
        MaamError: one can't be made.
    """
    made = [folder for folder in path.parents if not os.path.exists(folder)]
    try:
        make_folder(path.parent)
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):  # others have put something there
                folder.rmdir()
        raise


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Make a folder, which is locked while it has its name: so others see that it is in use."""
    fresh = folder.with_suffix(".new")
    fresh.mkdir()
    with ExitStack() as stack:
        with suppress(OSError):  # no such locks: it stays, should this process be killed
            stack.enter_context(_locked_folder(fresh))
        fresh.rename(folder)
        yield


def _delete_abandoned(parent: Path) -> None:
    """Delete the folders that were being filled by processes that are no more."""
    for folder in parent.glob(_FILLED.format("*")):
        with suppress(OSError), _locked_folder(folder):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """Hold a folder; OSError if another process does, or if there are no such locks here."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(file: int) -> None:
    """Lock an open file or folder; OSError as ``_locked_folder``."""
    try:
        import fcntl  # not on every system, where all else here works
    except ImportError:
        raise OSError("this system has no such locks") from None
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


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
        MaamError: its folder is not there or can't be written to, or it is a folder, a device or a
            pipe.
    """
    try:
        folder, other = path.absolute().parent.is_dir(), path.exists() and not path.is_file()
        place = path.resolve().parent
    except OSError as error:
        raise MaamError(f"cannot write {path}: {error.strerror or error}") from None
    except RuntimeError:  # of Python 3.11
        raise MaamError(f"cannot write {path}: it is a link to itself, name another") from None
    if not folder:
        raise MaamError(f"cannot write {path}: there is no folder {path.parent}")
    if other:
        raise MaamError(f"cannot write {path}: it is not a regular file, name another")
    try:
        with tempfile.TemporaryFile(dir=place):  # it has no name, or not for long
            pass
    except OSError as error:
        raise MaamError(f"cannot write {path}: {error.strerror or error}") from None


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
def locked(path: Path, taken: str = "") -> Iterator[None]:
    """Hold a lock file, which is made if need be and stays, against other processes.

    Args:
        path: the file.
        taken: what to say when another process holds it; if nothing, this one waits.

    Raises:
        MaamError: another process holds it, or it can't be written to.
    """
    try:
        file = path.open("w")
    except OSError as error:
        raise MaamError(f"cannot write {path}: {error.strerror or error}") from None
    with file:
        while True:
            try:
                _lock(file.fileno())
                break
            except BlockingIOError:
                if taken:
                    raise MaamError(taken) from None
            except OSError as error:
                raise MaamError(f"cannot lock {path}: {error.strerror or error}") from None
            time.sleep(0.1)
            check_signals()
        yield


def cache_dir() -> Path:
    """The folder for downloads and decoded images: MAAM_CACHE, or ``~/.cache/maam``."""
    return Path(os.path.expanduser(os.environ.get("MAAM_CACHE") or "~/.cache/maam"))
