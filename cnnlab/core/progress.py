"""Show progress: one live line on a terminal, occasional plain lines in a pipe."""

import shutil
import sys
from contextvars import ContextVar
from typing import TextIO

# When the command began, on the monotonic clock.
COMMAND_START: ContextVar[float] = ContextVar("COMMAND_START")


def format_duration(seconds: float) -> str:
    """Return a duration in seconds as `7:05` or `1:02:09`."""
    total_minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(total_minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


class Progress:
    """A line that is overwritten on a terminal. In a pipe only lines marked `keep` appear."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """`stream`: where to write, stdout by default."""
        self.stream = stream or sys.stdout
        self.is_live, self.has_live_line = self.stream.isatty(), False

    def show(self, line: str, *, keep: bool) -> None:
        """Write the line, cut to the terminal's width."""
        if self.is_live:
            self.stream.write("\r\x1b[2K" + line[: shutil.get_terminal_size().columns - 1])
            self.stream.flush()
            self.has_live_line = True
        elif keep:
            print(line, file=self.stream, flush=True)

    def end(self) -> None:
        """Keep the last line and begin a new one."""
        if self.has_live_line:
            self.stream.write("\n")
            self.has_live_line = False
