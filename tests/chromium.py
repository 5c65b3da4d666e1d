"""A headless Chromium, controlled over the DevTools protocol with the standard library only."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe")


def find_browser() -> str | None:
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class Chromium:
    """A browser with one page.

    Messages are JSON, each followed by a NUL; the browser reads them from descriptor 3 and writes
    to 4. `events`: the page's events so far.
    """

    def __init__(self, profile: Path, size: tuple[int, int]) -> None:
        browser_reads, self.writes = make_pipe()
        self.reads, browser_writes = make_pipe()
        program, window = find_browser() or PROGRAMS[0], f"--window-size={size[0]},{size[1]}"
        pipes = [
            (os.POSIX_SPAWN_DUP2, browser_reads, 3),
            (os.POSIX_SPAWN_DUP2, browser_writes, 4),
        ]
        no_stderr = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
        command = [program, *FLAGS, window, f"--user-data-dir={profile}", "about:blank"]
        self.process = os.posix_spawn(
            program, command, os.environ, file_actions=[no_stderr, *pipes], setpgroup=0
        )
        os.close(browser_reads)
        os.close(browser_writes)
        self.buffer, self.count, self.session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **screen)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result. Raises RuntimeError with the browser's error."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writes, json.dumps(message).encode() + b"\0")
        while True:
            response = self.message()
            if response.get("id") == self.count:
                if "error" in response:
                    raise RuntimeError(f"{method}: {response['error']}")
                return dict(response["result"])
            self.events.append(response)

    def message(self, seconds: float = 60) -> dict[str, Any]:
        """Return the next message."""
        while b"\0" not in self.buffer:
            if not select.select([self.reads], [], [], seconds)[0]:
                raise TimeoutError(f"no message from the browser for {seconds:g} seconds")
            chunk = os.read(self.reads, 1 << 20)
            if not chunk:
                raise RuntimeError("the browser has ended")
            self.buffer += chunk
        message, _, self.buffer = self.buffer.partition(b"\0")
        return dict(json.loads(message))

    def value(self, script: str) -> Any:
        """Return the value of an expression in the page; a promise is awaited."""
        response = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in response:
            raise RuntimeError(str(response["exceptionDetails"]))
        return response["result"].get("value")

    def wait(self, script: str, seconds: float = 60) -> Any:
        """Return the expression's value once it is true."""
        until = time.monotonic() + seconds
        while not (value := self.value(script)):
            if time.monotonic() > until:
                raise TimeoutError(f"not true after {seconds:g} seconds: {script}")
            time.sleep(0.02)
        return value

    def mouse(self, kind: str, x: float, y: float, **params: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **params)

    def click(self, x: float, y: float) -> None:
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="none" if kind == "mouseMoved" else "left", clickCount=1)

    def screenshot(self) -> bytes:
        """Return the page as a PNG file."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def close(self) -> None:
        os.killpg(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self.reads)
        os.close(self.writes)


def make_pipe() -> tuple[int, int]:
    """Return a pipe's two ends, as descriptors above the ones that the browser uses."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]
