"""A headless Chromium, driven over its own debugging protocol: open, wait for text, click, look."""

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Without these it looks up its maker's hosts at every start.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1600,1100",
    "--remote-debugging-port=0",
)


class Page:
    """The one tab of a browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0

    def _command(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            told: dict[str, Any] = json.loads(self._socket.recv(timeout=60))
            if told.get("id") == self._number:
                assert "error" not in told, told["error"]
                result: dict[str, Any] = told["result"]
                return result

    def open(self, address: str) -> None:
        """Go to an address."""
        self._command("Page.navigate", url=address)

    def ask(self, script: str) -> Any:
        """Value of a JavaScript expression in the page."""
        return self._command("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def text(self) -> str:
        """Text a person sees."""
        return str(self.ask("document.body ? document.body.innerText : ''"))

    def wait_until(self, script: str, seconds: float = 90.0) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.ask(script):
            assert time.monotonic() < end, f"in vain: {script}; the page says: {self.text()[:2000]}"
            time.sleep(0.2)

    def wait_for(self, *texts: str) -> None:
        """Wait until all texts are on the page."""
        for text in texts:
            self.wait_until(f"document.body && document.body.innerText.includes({json.dumps(text)})")

    def screenshot(self, path: Path) -> None:
        """Save what is shown as PNG."""
        path.write_bytes(base64.b64decode(self._command("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browse() -> Iterator[Page]:
    """A fresh browser, ended at the end of the block."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        log = Path(profile) / "stderr.txt"
        with log.open("wb") as errors, subprocess.Popen(command, stdout=errors, stderr=errors) as process:
            try:
                end = time.monotonic() + 60
                while not (found := re.search(r"DevTools listening on ws://([\d.:]+)/", log.read_text())):
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < end, "the browser does not start"
                    time.sleep(0.1)
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                with opener.open(f"http://{found[1]}/json/list", timeout=30) as answer:
                    tabs = json.loads(answer.read())
                address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
                with connect(address, max_size=50_000_000, proxy=None) as socket:
                    yield Page(socket)
            finally:
                process.terminate()
