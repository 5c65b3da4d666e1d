"""A headless Chromium that tests drive over the DevTools protocol, with the standard library only."""

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
    """One browser with one page. Messages are JSON with a NUL after each: it reads from its descriptor 3 and writes to
    its 4. `events` keeps what the page reported unasked."""

    def __init__(self, profile: Path, size: tuple[int, int]) -> None:
        reads, self.writes = pair()
        self.reads, writes = pair()
        program, window = find_browser() or PROGRAMS[0], f"--window-size={size[0]},{size[1]}"
        into = [(os.POSIX_SPAWN_DUP2, reads, 3), (os.POSIX_SPAWN_DUP2, writes, 4)]
        quiet = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
        words = [program, *FLAGS, window, f"--user-data-dir={profile}", "about:blank"]
        self.process = os.posix_spawn(
            program, words, os.environ, file_actions=[quiet, *into], setpgroup=0
        )
        os.close(reads)
        os.close(writes)
        self.held, self.count, self.session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=1,
            mobile=False,
        )
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **words: Any) -> dict[str, Any]:
        """A command, and its answer. Raises RuntimeError with what the browser says where it refuses."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": words}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writes, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.message()
            if answer.get("id") == self.count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self.events.append(answer)

    def message(self, seconds: float = 60) -> dict[str, Any]:
        while b"\0" not in self.held:
            if not select.select([self.reads], [], [], seconds)[0]:
                raise TimeoutError(f"the browser has said nothing for {seconds:g} seconds")
            more = os.read(self.reads, 1 << 20)
            if not more:
                raise RuntimeError("the browser has ended")
            self.held += more
        message, _, self.held = self.held.partition(b"\0")
        return dict(json.loads(message))

    def value(self, script: str) -> Any:
        """What an expression, or the promise that it is, comes to in the page."""
        done = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in done:
            raise RuntimeError(str(done["exceptionDetails"]))
        return done["result"].get("value")

    def wait(self, script: str, seconds: float = 60) -> Any:
        """The expression's value once it is true."""
        until = time.monotonic() + seconds
        while not (value := self.value(script)):
            if time.monotonic() > until:
                raise TimeoutError(f"not so after {seconds:g} seconds: {script}")
            time.sleep(0.02)
        return value

    def mouse(self, kind: str, x: float, y: float, **words: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **words)

    def click(self, x: float, y: float) -> None:
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="none" if kind == "mouseMoved" else "left", clickCount=1)

    def screenshot(self) -> bytes:
        """A PNG file."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def close(self) -> None:
        os.killpg(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self.reads)
        os.close(self.writes)


def pair() -> tuple[int, int]:
    """A pipe's two ends, numbered above those that the browser expects to be given."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]
