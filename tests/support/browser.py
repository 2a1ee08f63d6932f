"""A real browser, headless and offline, spoken to by the DevTools protocol over two pipes: no port, no library.

Debian's `chromium` (`.ci/install-chromium`). Where it is not there, tests are skipped; under `CI=true` they fail.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

_TIMEOUT_S: Final = 60.0
_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)


class Browser:
    """One tab of a browser. `requests` and `complaints` are what it asked for and what its console said."""

    def __init__(self, to: int, back: int) -> None:
        self._to = to
        self._back = back
        self._unread = b""
        self._number = 0
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask the tab for something; what happens meanwhile is noted."""
        return self._call(method, session=self._session, **params)

    def show(self, path: Path, *, width: int, dark: bool, height: int = 900) -> None:
        """Load a file at a width, and wait until it is laid out."""
        self.requests.clear()
        self.complaints.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="", features=[scheme])
        self.call("Page.navigate", url=path.absolute().as_uri())
        ready = "new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))"
        self.ask(f"{ready}.then(() => document.fonts.ready).then(() => true)")

    def ask(self, expression: str) -> Any:
        """Evaluate JavaScript in the page, and return its value. A page that allows no scripts answers this, too."""
        said = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def picture(self) -> bytes:
        """Return a PNG of the whole page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def _call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled":
                self.complaints.append(str(params))
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + _TIMEOUT_S
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._back], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            some = os.read(self._back, 1 << 20)
            assert some, "the browser has ended"
            self._unread += some
        message, _, self._unread = self._unread.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


def find_browser() -> str:
    """Return the path of a browser; skips the test, or fails it under `CI=true`, where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    if os.environ.get("CI") == "true":
        pytest.fail("there is no chromium: .ci/install-chromium")
    pytest.skip("there is no chromium (Debian package: chromium)")


def _high_pipe() -> tuple[int, int]:
    """Return a pipe whose numbers are none of 3 and 4, which the browser wants its own to be."""
    low = os.pipe()
    high = fcntl.fcntl(low[0], fcntl.F_DUPFD_CLOEXEC, 20), fcntl.fcntl(low[1], fcntl.F_DUPFD_CLOEXEC, 20)
    for descriptor in low:
        os.close(descriptor)
    return high


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """Start a browser with an empty profile in `folder`; it ends with the context."""
    command = [find_browser(), *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    (its_in, to), (back, its_out) = _high_pipe(), _high_pipe()
    with subprocess.Popen(
        ["bash", "-c", f'exec 3<&{its_in} 4>&{its_out}; exec "$@"', "browser", *command],
        pass_fds=(its_in, its_out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
    ) as process:
        os.close(its_in)
        os.close(its_out)
        try:
            browser = Browser(to, back)
            yield browser
        finally:
            os.close(to)  # it ends when its pipe does
            os.close(back)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
