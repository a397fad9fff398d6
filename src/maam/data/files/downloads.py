"""Download one file: resumed after a break, verified, never half there, one process at a time."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from maam.core.errors import MaamError
from maam.core.signals import check_signals

Progress = Callable[[int, int | None], None]
"""Called with the bytes so far and the bytes in total (None where the server does not say)."""

RETRY_DELAYS = (0.5, 1.0, 2.0)
"""Seconds to wait before each new attempt."""

TIMEOUT = 20
"""Seconds without a byte until a connection counts as broken."""

_RETRIED_CODES = (408, 416, 429)  # and all from 500
_CHUNK = 2**16
_WAIT = 0.1  # seconds
# ValueError: an address that a server sends us to and that is none.
_BROKEN = (OSError, http.client.HTTPException, ValueError)


def download(url: str, destination: Path, checksum: str, progress: Progress | None = None) -> Path:
    """Download ``url`` to ``destination`` and verify it.

    Bytes are collected in ``destination.part``, which a later attempt or a later call continues. A
    process that finds another one at it waits, and takes what that has got.

    Args:
        url: http or https address.
        destination: the file to make; its folder is made too.
        checksum: ``md5:<hex>`` or ``sha256:<hex>``.
        progress: called after every chunk.

    Returns:
        ``destination``.

    Raises:
        MaamError: the server cannot be reached or refuses, the file cannot be written, or its
            checksum is wrong (then the bytes are thrown away).
    """
    part = destination.with_name(destination.name + ".part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _alone(destination.with_name(destination.name + ".lock")) as waited:
            if not (waited and destination.is_file()):
                _get(url, part, checksum, progress)
                os.replace(part, destination)
    except _BROKEN as error:
        refused = isinstance(error, urllib.error.HTTPError)
        reason = " ".join(str(error if refused else getattr(error, "reason", error)).split())
        raise MaamError(f"cannot download {url} to {destination}: {reason}") from error
    return destination


def _get(url: str, part: Path, checksum: str, progress: Progress | None) -> None:
    """Fill ``part``. If what an earlier call has left of it is bad, start once more."""
    begun = part.exists()
    _transfer_with_retries(url, part, progress)
    try:
        _verify(part, url, checksum)
    except MaamError:
        if not begun:
            raise
        _transfer_with_retries(url, part, progress)
        _verify(part, url, checksum)


@contextmanager
def _alone(lock: Path) -> Iterator[bool]:
    """Wait until no other process holds a lock file, and hold it; whether one did.

    Where files cannot be locked, nothing is held.
    """
    waited = False
    while True:
        with open(lock, "w") as file:
            try:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waited = True
                check_signals()
                time.sleep(_WAIT)
                continue
            except (ImportError, OSError):
                pass
            if not lock.exists() or lock.stat().st_ino != os.fstat(file.fileno()).st_ino:
                continue  # the other process has deleted it
            try:
                yield waited
            finally:
                lock.unlink(missing_ok=True)
            return


def _transfer_with_retries(url: str, part: Path, progress: Progress | None) -> None:
    for delay in RETRY_DELAYS:
        try:
            return _transfer(url, part, progress)
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in _RETRIED_CODES:
                raise
        except _BROKEN:
            pass
        time.sleep(delay)
    _transfer(url, part, progress)


def _transfer(url: str, part: Path, progress: Progress | None) -> None:
    """One attempt: ask for what is missing in ``part`` and append it."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "maam"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416:  # 416: there is nothing after the bytes we have
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return
        part.unlink(missing_ok=True)  # longer than the file: the next attempt starts again
        raise
    with response:
        resumed = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if not (response.status == 206 and resumed):
            have = 0  # the server sends the whole file
        total = None if response.length is None else have + response.length
        with open(part, "ab" if have else "wb") as file:
            while chunk := response.read(_CHUNK):
                check_signals()
                file.write(chunk)
                have += len(chunk)
                if progress:
                    progress(have, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and have < total:
        raise ConnectionError(f"the connection broke after {have:,} of {total:,} bytes")


def _verify(part: Path, url: str, checksum: str) -> None:
    algorithm, _, expected = checksum.partition(":")
    with open(part, "rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    if digest.hexdigest() != expected:
        part.unlink()
        raise MaamError(
            f"{url}: the downloaded file has {algorithm} {digest.hexdigest()}, not {expected}; "
            "it was thrown away"
        )
