"""One live line on a terminal; plain lines, now and then, in a pipe."""

import shutil
import sys
from contextvars import ContextVar
from typing import TextIO

COMMAND_START: ContextVar[float] = ContextVar(
    "COMMAND_START"
)  # when the command began, on the monotonic clock


def format_duration(seconds: float) -> str:
    """Seconds as people read them: `7:05`, `1:02:09`."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


class Progress:
    """A line that is written over on a terminal. In a pipe only the lines marked `keep` appear."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """`stream`: where the line is, stdout unless given."""
        self.stream = stream or sys.stdout
        self.is_live, self.has_live_line = self.stream.isatty(), False

    def show(self, line: str, *, keep: bool) -> None:
        """Show where things stand, cut to the terminal's width."""
        if self.is_live:
            self.stream.write("\r\x1b[2K" + line[: shutil.get_terminal_size().columns - 1])
            self.stream.flush()
            self.has_live_line = True
        elif keep:
            print(line, file=self.stream, flush=True)

    def end(self) -> None:
        """Leave the last line standing."""
        if self.has_live_line:
            self.stream.write("\n")
            self.has_live_line = False
