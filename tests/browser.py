"""Debian's Chromium, driven over two pipes by the DevTools protocol: no package, no network."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)
_PATIENCE = 60.0  # seconds that a page may take, on a busy machine


class Tab:
    """A page in the browser.

    Attributes:
        console: what it has said on the console, and errors that nobody caught.
        requests: addresses that it has asked for, itself first.
    """

    def __init__(self, source: int, target: int) -> None:
        self._reader = os.fdopen(source, "rb", buffering=0)
        self._writer = os.fdopen(target, "wb", buffering=0)
        self._numbers = itertools.count(1)
        self._rest = b""
        self._session: dict[str, str] = {}
        self.console: list[str] = []
        self.requests: list[str] = []
        created = self.call("Target.createTarget", url="about:blank")
        attached = self.call("Target.attachToTarget", flatten=True, **created)
        self._session = {"sessionId": attached["sessionId"]}
        for part in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{part}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What a method of the protocol answers."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **self._session}
        self._writer.write(json.dumps(message).encode() + b"\0")
        while (message := self._receive()).get("id") != number:
            self._note(message)
        assert "error" not in message, message["error"]
        return message["result"]

    def open(self, address: str) -> None:
        """Load a page, and wait until it has run its scripts."""
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        how = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        result = self.call("Runtime.evaluate", expression=expression, **how)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until an expression holds."""
        end = time.monotonic() + _PATIENCE
        while not self.evaluate(expression):
            assert time.monotonic() < end, f"{expression} never held; console: {self.console}"
            time.sleep(0.01)

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in an ``<input type=file>``."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def screenshot(self, path: Path, width: int, height: int, dark: bool = False) -> None:
        """Write a PNG of the whole page in a window of so many pixels."""
        self.resize(width, height, dark)
        how = {"format": "png", "captureBeyondViewport": True}
        picture = self.call("Page.captureScreenshot", **how)["data"]
        path.write_bytes(base64.b64decode(picture))

    def resize(self, width: int, height: int, dark: bool = False) -> None:
        """Give the page a window of so many pixels, and a preference of colours."""
        size = {"width": width, "height": height, "mobile": width < 600, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = self._reader.read(1 << 16)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        content = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(content["request"]["url"])
        elif event.get("method") == "Runtime.consoleAPICalled":
            self.console.append(str([each.get("value") for each in content["args"]]))
        elif event.get("method") == "Runtime.exceptionThrown":
            self.console.append(str(content["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded":
            self.console.append(content["entry"]["text"])


@contextmanager
def browser(folder: Path, *options: str) -> Iterator[Tab]:
    """A new browser with one empty page.

    Args:
        folder: for its profile.
        options: more of Chromium's.
    """
    to_browser, to_us = os.pipe(), os.pipe()
    ends = to_browser[0], to_us[1]
    # Chromium reads file descriptor 3 and writes 4.
    script = f'exec "$@" 3<&{ends[0]} 4>&{ends[1]}'
    profile = f"--user-data-dir={folder / 'profile'}"
    command = ["bash", "-c", script, "-", str(CHROMIUM), *_OPTIONS, *options, profile]
    process = subprocess.Popen(command, pass_fds=ends, stdout=-3, stderr=-3)
    for end in ends:
        os.close(end)
    try:
        tab = Tab(to_us[0], to_browser[1])
        try:
            yield tab
        finally:
            tab._reader.close()
            tab._writer.close()
    finally:
        process.kill()
        process.wait()
