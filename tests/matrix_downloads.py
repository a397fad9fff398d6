"""Downloads from a bad server on this machine: right in the end, or refused in a line."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

from matrix import Counts, check_line, counting

from maam.data.files import downloads
from maam.data.files.downloads import download

CONTENT = bytes(range(256)) * 1000
CHECKSUM = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
MOST_SECONDS = 5.0

_RIGHT = """
plain no-length bad-length negative-length chunked cut-once cut-twice 301 302 303 307 308
chain busy-once many-requests-once stalled-once reset-once wrong-range no-range bad-part
long-part whole-part
"""
RIGHT = frozenset(_RIGHT.split())
_WRONG = """
short corrupted empty zeros too-long-length chunked-cut chunked-garbage stalled stalled-body
loop to-file to-ftp to-nowhere to-garbage to-bad-port no-location 400 403 404 410 500 503
204 garbage-status no-status long-header many-headers reset html
"""
WRONG = frozenset(_WRONG.split())


def download_from_bad_servers(folder: Path) -> Counts:
    """Every way in which the server is bad, once; then two processes for one file."""
    with (
        counting("downloads") as counts,
        bad_server() as url,
        patch.multiple(downloads, TIMEOUT=0.5, RETRY_DELAYS=(0.0, 0.0)),
    ):
        for how in sorted(RIGHT | WRONG):
            counts.cases += 1
            target = folder / how / "file.bin"
            _begin(how, target)
            began = time.monotonic()
            try:
                download(f"{url}/{how}", target, CHECKSUM)
                if how in WRONG or target.read_bytes() != CONTENT:
                    counts.fail("a wrong file is there", how)
                counts.fine += 1
            except BaseException as error:
                check_line(counts, error, f"{url}/{how}")
                if how in RIGHT:
                    counts.fail("given up", f"{how}: {error}")
                if target.exists():
                    counts.fail("half there", how)
                if "\n" in str(error):
                    counts.fail("several lines", how)
            counts.measure("slowest, s", time.monotonic() - began)
            if time.monotonic() - began > MOST_SECONDS:
                counts.fail("slow", how)
            if (
                left := {path.name for path in target.parent.iterdir()}
                - {target.name}
                - _parts(how)
            ):
                counts.fail("files left behind", f"{how}: {left}")
        counts.cases += 1
        _at_once(f"{url}/slow", folder / "both" / "file.bin", counts)
    return counts


def _parts(how: str) -> set[str]:
    """What a broken download leaves for the next one."""
    return {"file.bin.part"} if how in WRONG else set()


def _begin(how: str, target: Path) -> None:
    target.parent.mkdir()
    part = target.with_name("file.bin.part")
    if how == "bad-part":
        part.write_bytes(b"other" * 200)
    elif how == "long-part":
        part.write_bytes(CONTENT + b"more")
    elif how == "whole-part":
        part.write_bytes(CONTENT)


def _at_once(url: str, target: Path, counts: Counts) -> None:
    """Three processes that want one file at the same moment."""
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        answers = [pool.submit(download, url, target, CHECKSUM) for _ in range(3)]
        errors = [error for each in answers if (error := each.exception())]
    left = {path.name for path in target.parent.iterdir()}
    if errors or left != {"file.bin"} or target.read_bytes() != CONTENT:
        counts.fail("processes at once", f"{errors}, {left}")
    else:
        counts.fine += 1


@contextmanager
def bad_server() -> Iterator[str]:
    """A server's address; the path says how it is bad."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


_asked: dict[str, int] = {}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        how = self.path.strip("/")
        _asked[how] = _asked.get(how, 0) + 1
        first = _asked[how] == 1
        if how in _PLACES:
            return self._redirect(int(how) if how.isdigit() else 302, _PLACES[how])
        match how:
            case "chain" | "step1" | "step2" | "step3":
                number = int(how[-1]) if how != "chain" else 0
                self._redirect(302, f"/step{number + 1}" if number < 3 else "/plain")
            case "400" | "403" | "404" | "410" | "500" | "503":
                self.send_error(int(how))
            case "busy-once" | "many-requests-once" if first:
                self.send_error(503 if how == "busy-once" else 429)
            case "204":
                self._send(b"", status=204)
            case "no-length":
                self._send(CONTENT, {})
            case "bad-length" | "negative-length":
                self._send(CONTENT, {"Content-Length": "many" if how == "bad-length" else "-5"})
            case "too-long-length" | "short":
                self._send(
                    CONTENT[: -500 if how == "short" else None], {"Content-Length": "300000"}
                )
            case "corrupted":
                self._send(CONTENT[:-1] + b"x")
            case "empty" | "zeros" | "html":
                self._send({"empty": b"", "zeros": bytes(len(CONTENT))}.get(how, b"<html>"))
            case "chunked" | "chunked-cut" | "chunked-garbage":
                size = b"%x" % len(CONTENT) if how != "chunked-garbage" else b"lots"
                body = size + b"\r\n" + (CONTENT if how != "chunked-cut" else CONTENT[:999])
                body += b"\r\n0\r\n\r\n" if how == "chunked" else b""
                self._send(body, {"Transfer-Encoding": "chunked"})
            case "cut-once" | "cut-twice" if _asked[how] <= 1 + (how == "cut-twice"):
                start = self._start()
                self._send(CONTENT[start:], self._range(start), 206 if start else 200, cut=70_000)
            case "stalled" | "stalled-once" if how == "stalled" or first:
                time.sleep(1.5)
            case "stalled-body":
                self._send(CONTENT[:1000], {"Content-Length": str(len(CONTENT))})
                time.sleep(1.5)
            case "reset" | "reset-once" if how == "reset" or first:
                self.connection.close()
            case "garbage-status" | "no-status" | "long-header" | "many-headers":
                self.wfile.write(_NO_HTTP[how])
            case "wrong-range" if self._start() or first:
                self._send(CONTENT, {"Content-Range": "bytes 7-9/10"}, 206 if first else 200)
            case "slow":
                self.send_response(200)
                self.send_header("Content-Length", str(len(CONTENT)))
                self.end_headers()
                for start in range(0, len(CONTENT), 25_600):
                    self.wfile.write(CONTENT[start : start + 25_600])
                    time.sleep(0.1)
            case "no-range":
                self._send(CONTENT)
            case _:
                self._ranged()

    def _start(self) -> int:
        asked = self.headers.get("Range")
        return int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0

    def _range(self, start: int) -> dict[str, str]:
        length = {"Content-Length": str(len(CONTENT) - start)}
        span = {"Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"}
        return {**length, **span} if start else length

    def _ranged(self) -> None:
        start = self._start()
        if start >= len(CONTENT):
            self._send(b"", {"Content-Range": f"bytes */{len(CONTENT)}"}, 416)
        else:
            self._send(CONTENT[start:], self._range(start), 206 if start else 200)

    def _redirect(self, code: int, place: str | None) -> None:
        self._send(b"", {} if place is None else {"Location": place}, code)

    def _send(
        self,
        body: bytes,
        headers: dict[str, str] | None = None,
        status: int = 200,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(body))} if headers is None else headers
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:cut])

    def log_message(self, format: str, *args: object) -> None:
        pass


_PLACES: dict[str, str | None] = {
    **dict.fromkeys(("301", "302", "303", "307", "308"), "/plain"),
    "loop": "/loop",
    "to-file": "file:///etc/passwd",
    "to-ftp": "ftp://127.0.0.1:1/file.bin",
    "to-nowhere": "http://127.0.0.1:1/file.bin",
    "to-garbage": "http://[bad/file.bin",
    "to-bad-port": "http://127.0.0.1:99999999/",
    "no-location": None,
}
_NO_HTTP = {
    "garbage-status": b"HTTP/1.1 many things\r\n\r\n",
    "no-status": b"\x80\x04pickle" * 100,
    "long-header": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "many-headers": b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 500 + b"\r\n",
}
