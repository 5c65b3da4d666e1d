"""Show progress: one live line on a terminal, occasional plain lines in a pipe."""

import sys
from contextvars import ContextVar
from time import monotonic
from typing import TextIO

from cnnlab.core.output import as_output, keep_live_line

PLAIN_INTERVAL_S = 30.0  # between lines of progress where they cannot be overwritten

# When the command began, on the monotonic clock.
COMMAND_START: ContextVar[float] = ContextVar("COMMAND_START")


def format_duration(seconds: float) -> str:
    """Return a duration in seconds as `7:05` or `1:02:09`."""
    total_minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(total_minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


class Progress:
    """A line that is overwritten on a terminal.

    Elsewhere (a pipe, a file, TERM=dumb) there are the lines marked `keep`, and one of the others
    every half a minute.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        """`stream`: where to write, stdout by default."""
        self.stream = as_output(stream or sys.stdout)
        self.is_live, self.printed_at = self.stream.is_terminal, monotonic()

    def show(self, line: str, *, keep: bool) -> None:
        """Write the line: `keep` as a whole one, others in place of the last."""
        if keep or not (self.is_live or monotonic() - self.printed_at < PLAIN_INTERVAL_S):
            self.printed_at = monotonic()
            print(line, file=self.stream, flush=True)
        elif self.is_live:
            self.stream.show_live_line(line)

    def end(self) -> None:
        """Keep the last line and begin a new one."""
        keep_live_line()
