"""The page on this machine's own address: browsers give it a camera there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_HOST = "127.0.0.1"  # nobody else can reach it


@contextmanager
def page_server(content: str) -> Iterator[ThreadingHTTPServer]:
    """A server of one page, on a free port; ``serve_forever`` answers until it is interrupted.

    Args:
        content: HTML.
    """
    page = content.encode("utf-8")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(page)

        def do_HEAD(self) -> None:
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            if self.path.partition("?")[0] != "/":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            if not isinstance(sys.exception(), ConnectionError):  # the browser has gone away
                super().handle_error(request, client_address)

    with Server((_HOST, 0), Handler) as server:
        yield server


def address(server: ThreadingHTTPServer) -> str:
    """Where a browser finds the page."""
    return f"http://{_HOST}:{server.server_port}/"
