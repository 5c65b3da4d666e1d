import io
import sys

import pytest

from cnnlab.core.progress import Progress, format_duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_format_duration() -> None:
    assert [format_duration(seconds) for seconds in (0, 65, 3729)] == ["0:00", "1:05", "1:02:09"]


def test_a_pipe_gets_only_kept_lines(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.show("passing", keep=False)
    progress.show("epoch 1", keep=True)
    progress.end()
    assert capsys.readouterr().out == "epoch 1\n"


def test_a_terminal_gets_one_line_cut_to_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "20")
    progress = Progress()
    progress.show("x" * 50, keep=False)
    progress.show("done", keep=True)
    progress.end()
    assert terminal.getvalue() == "\r\x1b[2K" + "x" * 19 + "\r\x1b[2Kdone\n"
