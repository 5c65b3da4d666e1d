"""The standard streams: every text can be printed, and losing a stream does not end the work.

What is printed contains names from files, other machines and other people. An `OutputStream`
escapes terminal codes, and characters that the stream's encoding lacks.
"""

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from time import monotonic
from typing import Any, ClassVar, TextIO

from cnnlab.core.display_text import END_ISOLATE, ISOLATE, cut_to_columns
from cnnlab.core.quoting import printable
from cnnlab.core.signals import cleaning_up_on_signal

# Printed instead of cnnlab's own symbols where the encoding lacks them.
ASCII_SYMBOLS = {"±": "+-", "×": "x", "…": "...", "–": "-", "—": "-", "²": "^2", "°": " deg"}
ASCII_SYMBOLS |= {ISOLATE: "", END_ISOLATE: ""}
SHOWN = f"\n\t{ISOLATE}{END_ISOLATE}"  # are not escaped, though they are not printable
NOTICE_DELAY_S = 1.0  # `cnnlab runs | head` ends sooner, and needs no notice
ERASE_LINE = "\r\x1b[2K"


def replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    """Return ASCII text for characters that an encoding lacks, and where encoding continues."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(ASCII_SYMBOLS.get(c, ascii(c)[1:-1]) for c in characters), error.end


codecs.register_error("cnnlab_ascii", replace_unencodable)


def escape_lines(text: str) -> str:
    """Return a text with escaped control characters, except newlines, tabs, and the signs around
    words written from right to left."""
    if text.isprintable():
        return text
    return "".join(c if c in SHOWN or c.isprintable() else printable(c) for c in text)


class OutputStream(io.TextIOBase):
    """A text stream that escapes what cannot be shown, and that may be lost.

    After a failed write (a full disk, a reader or a terminal that is gone) what follows is
    discarded and `error` is the failure. On a terminal it can show one live line.
    """

    live: ClassVar["OutputStream | None"] = None  # the stream whose terminal shows a live line
    error: OSError | None = None

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.lost_at, self.is_noticed = 0.0, False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self.stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    @property
    def buffer(self) -> Any:
        return self.stream.buffer

    @property
    def is_terminal(self) -> bool:
        """Return whether the stream is a terminal on which a line can be overwritten."""
        return self.isatty() and os.environ.get("TERM", "") not in ("", "dumb")

    def isatty(self) -> bool:
        return self.error is None and self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        """Write a text, escaped, and flush whole lines."""
        erase_live_line()
        self.write_raw(escape_lines(text), flush="\n" in text)
        return len(text)

    def write_raw(self, text: str, *, flush: bool) -> None:
        """Write a text that may contain terminal codes."""
        if self.error is not None:
            self.notice_loss()
            return
        text = text.encode(self.encoding, "cnnlab_ascii").decode(self.encoding)
        try:
            self.stream.write(text)
            if flush:
                self.stream.flush()
        except OSError as error:
            self.lose(error)

    def flush(self) -> None:
        if self.error is None:
            try:
                self.stream.flush()
            except OSError as error:
                self.lose(error)

    def lose(self, error: OSError) -> None:
        """Discard what follows, also what is still buffered."""
        self.error, self.lost_at = error, monotonic()
        with suppress(OSError, ValueError):  # a stream without a file
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.stream.fileno())
            os.close(null)
        if error.errno != errno.EPIPE:
            self.notice_loss()

    def notice_loss(self) -> None:
        """Print once on stderr that the output is lost; for a reader that left, after a second."""
        is_soon = monotonic() - self.lost_at < NOTICE_DELAY_S
        if self.is_noticed or (is_soon and self.is_reader_gone):
            return
        self.is_noticed = True
        if self is not sys.stderr and self.error is not None:
            reason = f"cannot write to stdout: {self.error.strerror}"
            print(f"cnnlab: {reason}; continuing without it", file=sys.stderr)

    @property
    def is_reader_gone(self) -> bool:
        """Return whether the stream was a pipe whose reader has left: it wants no more."""
        return self.error is not None and self.error.errno == errno.EPIPE

    def show_live_line(self, line: str) -> None:
        """Write or overwrite the terminal's live line, cut to the terminal's width."""
        line = cut_to_columns(printable(line), self.count_columns() - 1)
        self.write_raw(ERASE_LINE + line, flush=True)
        OutputStream.live = self

    def count_columns(self) -> int:
        """Return the width of this stream's terminal; shutil asks only for stdout's."""
        with suppress(ValueError):
            if (columns := int(os.environ.get("COLUMNS", "0"))) > 0:
                return columns
        with suppress(OSError, ValueError):
            return os.get_terminal_size(self.fileno()).columns or 80
        return 80


def as_output(stream: TextIO) -> OutputStream:
    """Return the stream as an OutputStream."""
    return stream if isinstance(stream, OutputStream) else OutputStream(stream)


def erase_live_line() -> None:
    """Erase the live line, so that other text can be printed in its place."""
    stream, OutputStream.live = OutputStream.live, None
    if stream is not None:
        stream.write_raw(ERASE_LINE, flush=True)


def keep_live_line() -> None:
    """Leave the live line as it is; what follows is printed below it."""
    stream, OutputStream.live = OutputStream.live, None
    if stream is not None:
        stream.write_raw("\n", flush=True)


def leave_live_line() -> None:
    """Move below the live line, from a signal handler, which may have interrupted a print."""
    stream, OutputStream.live = OutputStream.live, None
    if stream is not None:
        os.write(stream.fileno(), b"\n")


def open_closed_descriptors() -> None:
    """Open /dev/null as stdin, stdout or stderr where the caller closed them.

    A file that is opened later would get their number, and be written to by mistake.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            os.set_inheritable(descriptor, True)


@contextmanager
def standard_streams() -> Iterator[OutputStream]:
    """Print through OutputStreams in the context; yield the one of stdout."""
    open_closed_descriptors()
    # Python has None for a stream that was closed when it started.
    stdout = as_output(sys.stdout or open(1, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    stderr = as_output(sys.stderr or open(2, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    with redirect_stdout(stdout), redirect_stderr(stderr), cleaning_up_on_signal(leave_live_line):
        yield stdout
        stdout.flush()
