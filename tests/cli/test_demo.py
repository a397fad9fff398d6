"""``maam demo`` serves the page to this machine alone, until Ctrl-C."""

from __future__ import annotations

import _thread
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

from maam.cli import demo
from maam.cli.app import run
from maam.deploy.web.server import page_server


def test_the_page_is_served_until_it_is_interrupted():
    command = [sys.executable, "-m", "maam", "demo", "maamnet-nano", "--no-open"]
    with subprocess.Popen(command, text=True, stdout=-1, stderr=-1, bufsize=1) as process:
        assert process.stdout
        address = re.findall(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0]
        with urllib.request.urlopen(address, timeout=30) as answer:
            page = answer.read().decode("utf-8")
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "<title>maamnet-nano</title>" in page
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"{address}etc/passwd", timeout=30)
        with error.value as answer:
            assert answer.code == 404
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.count("\n") == 1


def test_what_is_no_run_is_refused(capsys):
    assert run(["demo", "nowhere", "--no-open"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_a_browser_that_goes_away_leaves_no_traceback(capsys):
    with page_server("x" * 10_000_000) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with socket.create_connection(("127.0.0.1", server.server_port)) as browser:
                browser.sendall(b"GET / HTTP/1.0\r\n\r\n")
                browser.recv(100)
                linger = struct.pack("ii", 1, 0)  # it resets the connection
                browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        finally:
            server.shutdown()
            thread.join()
    assert capsys.readouterr().err == ""


def test_the_page_is_there_while_the_browser_opens(monkeypatch):
    """A browser in a terminal ends only when it has shown the page."""
    shown = []

    def browser(address):
        with urllib.request.urlopen(address, timeout=30) as answer:
            shown.append(answer.read())
        _thread.interrupt_main()

    monkeypatch.setattr("webbrowser.open", browser)
    with pytest.raises(KeyboardInterrupt):
        demo.command("maamnet-nano")
    assert b"<title>maamnet-nano</title>" in shown[0]
