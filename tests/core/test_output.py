import io
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest

from cnnlab.core import output
from cnnlab.core.display_text import format_cell
from cnnlab.core.output import OutputStream

PRINT = """
import sys
from cnnlab.core.output import standard_streams
with standard_streams() as stdout:
    print("out")
    print("err", file=sys.stderr)
    opened = open("opened", "w").fileno()
    print(opened > 2, file=open("state", "w"))
sys.exit(3)
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def encoded(text: str, encoding: str, errors: str = "strict") -> bytes:
    """What a stream of that encoding writes."""
    file = io.BytesIO()
    stream = OutputStream(io.TextIOWrapper(file, encoding=encoding, errors=errors, newline=""))
    print(text, file=stream)
    return file.getvalue()


def test_terminal_codes_are_escaped() -> None:
    codes = "\x1b[31mred\x07 \x9b2J \u202eevil\r\tx"
    assert encoded(codes, "utf-8") == rb"\x1b[31mred\x07 \x9b2J \u202eevil\r" + b"\tx\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "utf-16"])
def test_every_text_can_be_printed_in_every_encoding(encoding: str) -> None:
    printed = encoded("11.81% ± 1.96, 3 × 3, 漢 \udcff", encoding).decode(encoding)
    assert "11.81%" in printed and r"\udcff" in printed
    assert ("± 1.96" in printed) == (encoding != "ascii")


def test_names_written_from_right_to_left_are_isolated_and_not_escaped() -> None:
    cell = format_cell("\u05e9\u05dc\u05d5\u05dd", 6)
    assert encoded(cell, "utf-8").decode() == f"{cell}\n" and "\u2068" in cell
    assert encoded(cell, "ascii") == b"\\u05e9\\u05dc\\u05d5\\u05dd  \n"


def test_symbols_have_names_in_ascii() -> None:
    assert encoded("1 ± 2, 3×3 …é", "ascii") == rb"1 +- 2, 3x3 ...\xe9" + b"\n"


@pytest.mark.parametrize("redirection", ["", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_replaced(tmp_path: Path, redirection: str) -> None:
    """A file that is opened later must not become stdout."""
    command = f'"{sys.executable}" -c "$0" {redirection}'
    done = subprocess.run(["bash", "-c", command, PRINT], capture_output=True, cwd=tmp_path)
    assert done.returncode == 3 and (tmp_path / "state").read_text() == "True\n"
    assert done.stdout == (b"" if ">&-" in redirection.split() else b"out\n")
    assert done.stderr == (b"" if "2>&-" in redirection else b"err\n")


def test_a_full_disk_is_reported_once() -> None:
    code = """
from cnnlab.core.output import standard_streams
with standard_streams() as stdout:
    for _ in range(9):
        print("line")
print(stdout.error.errno, stdout.is_reader_gone)
"""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE)
    message = b"cnnlab: cannot write to stdout: No space left on device; continuing without it\n"
    assert done.returncode == 0 and done.stderr == message


class Broken(io.StringIO):
    """A pipe without a reader."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_reader_that_leaves_is_noticed_after_a_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = OutputStream(Broken())
    for _ in range(3):
        print("line", file=stream)
    assert capsys.readouterr().err == "" and stream.is_reader_gone
    monkeypatch.setattr(output, "NOTICE_DELAY_S", 0.05)
    time.sleep(0.06)
    for _ in range(3):
        print("line", file=stream)
    assert capsys.readouterr().err == (
        "cnnlab: cannot write to stdout: Broken pipe; continuing without it\n"
    )


def test_other_text_replaces_the_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also text on the other stream, which is on the same terminal."""
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    out, err = OutputStream(terminal), OutputStream(terminal)
    out.show_live_line("50%")
    print("warning", file=err)
    print("done", file=out)
    assert terminal.getvalue() == "\r\x1b[2K50%\r\x1b[2Kwarning\ndone\n"


@pytest.mark.parametrize("terminal_type", ["", "dumb", "xterm"])
def test_a_dumb_terminal_gets_no_live_line(
    monkeypatch: pytest.MonkeyPatch, terminal_type: str
) -> None:
    monkeypatch.setenv("TERM", terminal_type)
    assert OutputStream(Terminal()).is_terminal == (terminal_type == "xterm")


def test_the_width_is_of_the_streams_own_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """shutil.get_terminal_size asks stdout's, which may be a pipe."""
    termios = pytest.importorskip("termios")
    import os
    import pty

    monkeypatch.delenv("COLUMNS", raising=False)
    main, other = pty.openpty()
    termios.tcsetwinsize(other, (24, 37))
    terminal: IO[str] = os.fdopen(other, "w")
    assert OutputStream(terminal).count_columns() == 37  # type: ignore[arg-type]
    terminal.close()
    os.close(main)
