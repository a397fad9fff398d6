"""Downloads against a server on this machine that can ignore ranges and break connections."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from maam.core.errors import MaamError
from maam.data.files import downloads as download_module
from maam.data.files.downloads import download
from maam.data.files.locations import fetch

CONTENT = bytes(range(256)) * 1000
CHECKSUM = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT at every path and notes the Range header of every request."""

    ranges = True  # whether Range requests are answered
    cut_after: list[int]  # bytes after which the next connections break
    errors: list[int]  # status codes of the next answers
    asked: list[str | None]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cut_after, self.errors, self.asked = [], [], []
        self.url = f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server  # type: ignore[assignment]

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.server.errors:
            return self.send_error(self.server.errors.pop(0))
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        body = CONTENT
        if not (asked and self.server.ranges):
            self.send_response(200)
        elif start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            body = b""
        else:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
            body = CONTENT[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut_after.pop(0)] if self.server.cut_after else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def no_delay(monkeypatch) -> None:
    monkeypatch.setattr(download_module, "RETRY_DELAYS", (0.0, 0.0))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "file.bin"


def part_of(target):
    target.parent.mkdir()
    return target.with_name("file.bin.part")


def test_whole_file_with_progress(server, target):
    seen = []
    assert download(server.url, target, CHECKSUM, lambda *now: seen.append(now)) == target
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["file.bin"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen) and len(seen) > 1


def test_a_partial_file_is_continued(server, target):
    part_of(target).write_bytes(CONTENT[:1000])
    seen = []
    download(server.url, target, CHECKSUM, lambda *now: seen.append(now))
    assert server.asked == ["bytes=1000-"]
    assert target.read_bytes() == CONTENT
    assert seen[0][0] > 1000 and seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_server_without_ranges_sends_everything_again(server, target):
    server.ranges = False
    part_of(target).write_bytes(b"other" * 200)
    download(server.url, target, CHECKSUM)
    assert server.asked == ["bytes=1000-"]
    assert target.read_bytes() == CONTENT


def test_a_broken_connection_is_resumed(server, target):
    server.cut_after = [70_000, 50_000]
    download(server.url, target, CHECKSUM)
    assert server.asked == [None, "bytes=70000-", "bytes=120000-"]
    assert target.read_bytes() == CONTENT


def test_what_arrived_is_kept_for_the_next_call(server, target):
    server.cut_after = [1000, 1000, 1000]
    with pytest.raises(MaamError, match="broke after 3,000 of 256,000 bytes"):
        download(server.url, target, CHECKSUM)
    assert not target.exists()
    download(server.url, target, CHECKSUM)
    assert server.asked[-1] == "bytes=3000-"
    assert target.read_bytes() == CONTENT


def test_a_complete_partial_file_is_only_verified(server, target):
    part_of(target).write_bytes(CONTENT)
    download(server.url, target, CHECKSUM)
    assert target.read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_partial_file_that_is_too_long_is_started_again(server, target):
    part_of(target).write_bytes(CONTENT + b"more")
    download(server.url, target, CHECKSUM)
    assert server.asked == ["bytes=256004-", None]
    assert target.read_bytes() == CONTENT


def test_wrong_checksum_leaves_nothing(server, target):
    wrong = "md5:" + "0" * 32
    with pytest.raises(MaamError, match=re.escape(server.url) + ".*md5 .* not 0000") as caught:
        download(server.url, target, wrong)
    assert hashlib.md5(CONTENT).hexdigest() in str(caught.value)
    assert list(target.parent.iterdir()) == []


def test_a_busy_server_is_asked_again_and_a_refusal_is_final(server, target):
    server.errors = [503, 429]
    download(server.url, target, CHECKSUM)
    assert len(server.asked) == 3
    server.errors = [404]
    with pytest.raises(MaamError, match=r"cannot download http://.*404"):
        download(server.url, target.with_name("other"), CHECKSUM)
    assert len(server.asked) == 4


def test_offline_says_what_was_tried_and_what_to_do(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file.bin"
        with pytest.raises(MaamError) as caught:
            fetch(url, tmp_path / "file.bin", CHECKSUM, [tmp_path / "here", tmp_path / "there"])
    line = str(caught.value)
    for part in (url, "refused", str(tmp_path / "here"), str(tmp_path / "there")):
        assert part in line
    assert "`data_dir`" in line and "MAAM_DATA" in line and "\n" not in line


def test_a_folder_that_cannot_be_made_is_one_line(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MaamError, match="cannot download"):
        download(server.url, tmp_path / "file" / "file.bin", CHECKSUM)
    assert server.asked == []
