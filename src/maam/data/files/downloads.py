"""Download one file: resumed after a break, verified, and never half there."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
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


def download(url: str, destination: Path, checksum: str, progress: Progress | None = None) -> Path:
    """Download ``url`` to ``destination`` and verify it.

    Bytes are collected in ``destination.part``, which a later attempt or a later call continues.

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
        _transfer_with_retries(url, part, progress)
        _verify(part, url, checksum)
        os.replace(part, destination)
    except (OSError, http.client.HTTPException) as error:
        refused = isinstance(error, urllib.error.HTTPError)
        reason = error if refused else getattr(error, "reason", error)
        raise MaamError(f"cannot download {url} to {destination}: {reason}") from error
    return destination


def _transfer_with_retries(url: str, part: Path, progress: Progress | None) -> None:
    for delay in RETRY_DELAYS:
        try:
            return _transfer(url, part, progress)
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in _RETRIED_CODES:
                raise
        except (OSError, http.client.HTTPException):
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
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
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
