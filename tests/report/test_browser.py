"""The report in a real browser: it shows, says nothing on the console and asks for nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tiny_report import HOSTILE, make_data_report, make_report

from maam.report.data_page import data_page
from maam.report.page import report_page

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
OWN = "google.com"  # what the browser asks for itself, and does not get here

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium"),
]


@dataclass(frozen=True)
class Visit:
    """The document after loading, the console's lines, and what was asked for."""

    document: str
    console: list[str]
    requests: set[str]


def visit(page: str, folder: Path) -> Visit:
    file, log = folder / "page.html", folder / "net.json"
    file.write_text(page, encoding="utf-8")
    quiet = ("quic", "background-networking", "component-update", "sync")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        *(f"--disable-{name}" for name in quiet),
        f"--user-data-dir={folder / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--enable-logging=stderr",
        f"--log-net-log={log}",
        "--dump-dom",
    ]
    done = subprocess.run(
        [str(BROWSER), *options, file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    events = json.loads(log.read_text(encoding="utf-8"))["events"]
    urls = {event.get("params", {}).get("url", "") for event in events}
    return Visit(
        done.stdout,
        [line for line in done.stderr.splitlines() if "CONSOLE" in line],
        {url for url in urls if url.startswith(("http", "ws")) and OWN not in url.split("/")[2]},
    )


def test_the_report_asks_for_nothing(tmp_path):
    report = make_report((*HOSTILE, "x"), np.full((len(HOSTILE) + 1,) * 2, 2))
    seen = visit(report_page(report), tmp_path)
    assert seen.requests == set()
    assert seen.console == []
    assert "of 72 test images" in seen.document
    assert "&lt;script&gt;alert(1)" in seen.document


def test_the_page_on_a_data_set_asks_for_nothing(tmp_path):
    seen = visit(data_page(make_data_report(HOSTILE)), tmp_path)
    assert seen.requests == set()
    assert seen.console == []
    assert "Ready to train" in seen.document


def test_a_page_that_asks_would_be_noticed(tmp_path):
    page = '<script>console.log("noticed")</script><img src="http://127.0.0.1:9/x.png">'
    seen = visit(page, tmp_path)
    assert seen.requests == {"http://127.0.0.1:9/x.png"}
    assert any("noticed" in line for line in seen.console)
