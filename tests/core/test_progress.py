import io

import pytest

from cnnlab.core import progress as progress_module
from cnnlab.core.progress import Progress, format_duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 20 columns."""
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def test_format_duration() -> None:
    assert [format_duration(seconds) for seconds in (0, 65, 3729)] == ["0:00", "1:05", "1:02:09"]


def test_a_pipe_gets_only_kept_lines(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.show("passing", keep=False)
    progress.show("epoch 1", keep=True)
    progress.end()
    assert capsys.readouterr().out == "epoch 1\n"


def test_a_pipe_gets_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress_module, "monotonic", lambda: next(times))
    progress = Progress()
    for percent in range(10):
        progress.show(f"{percent}%", keep=False)
    assert capsys.readouterr().out == "2%\n5%\n8%\n"


def test_a_dumb_terminal_gets_whole_lines(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    progress = Progress(terminal)
    for percent in range(40):
        progress.show(f"{percent}%", keep=False)
    progress.show("epoch 1", keep=True)
    progress.end()
    assert terminal.getvalue() == "epoch 1\n"


def test_a_terminal_keeps_marked_lines_above_a_live_one(terminal: Terminal) -> None:
    progress = Progress(terminal)
    progress.show("x" * 50, keep=False)
    progress.show("epoch 1", keep=True)
    progress.show("half", keep=False)
    progress.end()
    erase = "\r\x1b[2K"
    assert terminal.getvalue() == f"{erase}{'x' * 19}{erase}epoch 1\n{erase}half\n"


def test_a_live_line_of_wide_characters_is_cut_to_the_width(terminal: Terminal) -> None:
    Progress(terminal).show("漢" * 50, keep=False)
    assert terminal.getvalue() == "\r\x1b[2K" + "漢" * 9
    Progress(terminal).end()


@pytest.mark.parametrize("columns", ["1", "2", "39"])
def test_a_narrow_terminal_gets_one_line(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    Progress(terminal).show("x" * 80, keep=False)
    assert terminal.getvalue() == "\r\x1b[2K" + "x" * (int(columns) - 1)
    Progress(terminal).end()
