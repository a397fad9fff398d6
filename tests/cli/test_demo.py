"""``maam demo`` serves the page to this machine alone, until Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from maam.cli.app import run


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
