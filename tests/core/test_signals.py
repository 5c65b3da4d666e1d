import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cnnlab.core.signals import STOP_SIGNALS, SignalRecorder, cleaning_up, stop_handlers


def run_python(code: str, **options: object) -> subprocess.CompletedProcess:
    return subprocess.run(  # type: ignore[call-overload]
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **options
    )


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_signal_is_recorded_and_handlers_are_restored(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with SignalRecorder() as signals:
        assert signals.received is None
        os.kill(os.getpid(), number)
        assert signals.received == number
    assert signal.getsignal(number) is before


def test_a_second_interrupt_ends_the_process() -> None:
    code = """
import os
from cnnlab.core.signals import SignalRecorder
with SignalRecorder():
    for _ in range(2):
        os.kill(os.getpid(), 2)
print("still here")
"""
    process = run_python(code)
    assert process.returncode == -signal.SIGINT and process.stdout == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_that_is_sent_twice_at_once_counts_once(number: signal.Signals) -> None:
    """As `timeout` and a closing shell send it."""
    with SignalRecorder() as signals:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert signals.received == number


def test_a_second_sigterm_after_half_a_second_ends_the_process() -> None:
    code = """
import os, time
from cnnlab.core.signals import SignalRecorder
with SignalRecorder():
    os.kill(os.getpid(), 15)
    time.sleep(0.6)
    os.kill(os.getpid(), 15)
print("still here")
"""
    process = run_python(code)
    assert process.returncode == -signal.SIGTERM and process.stdout == ""


def test_nothing_is_recorded_in_another_thread() -> None:
    received: list[int | None] = [0]

    def record() -> None:
        with SignalRecorder() as signals:
            received[0] = signals.received

    thread = threading.Thread(target=record)
    thread.start()
    thread.join()
    assert received == [None]


def test_an_ignored_signal_stays_ignored() -> None:
    """As SIGHUP under nohup."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with SignalRecorder() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.received is None
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_a_signal_that_came_too_late_is_delivered_again() -> None:
    heard = list[int]()
    with stop_handlers(heard.append):
        with SignalRecorder() as signals:
            os.kill(os.getpid(), signal.SIGTERM)
        assert heard == []
        signals.deliver()
    assert heard == [signal.SIGTERM]


def test_a_signal_in_a_destructor_is_not_swallowed() -> None:
    """An exception raised in `__del__` would be printed and ignored."""
    code = """
import os
from cnnlab.core.signals import exit_on_signal, install_stop_handlers
install_stop_handlers(exit_on_signal)
class Thing:
    def __del__(self):
        os.kill(os.getpid(), 2)
Thing()
print("still here")
"""
    process = run_python(code)
    assert (process.returncode, process.stdout) == (130, "")
    assert process.stderr == "cnnlab: interrupted\n"


def test_a_signal_removes_temporary_files(tmp_path: Path) -> None:
    code = """
import os
from pathlib import Path
from cnnlab.core.files import write_text, write_atomically
from cnnlab.core.signals import exit_on_signal, install_stop_handlers
install_stop_handlers(exit_on_signal)
def write(part):
    part.write_text("half")
    os.kill(os.getpid(), 1)
write_atomically(Path("whole"), write)
"""
    process = run_python(code, cwd=tmp_path)
    assert process.returncode == 129 and process.stderr == "cnnlab: stopped by SIGHUP\n"
    assert list(tmp_path.iterdir()) == []


def test_cleaning_up_also_after_an_exception() -> None:
    done = list[str]()
    with pytest.raises(ValueError), cleaning_up(lambda: done.append("cleaned")):
        raise ValueError
    assert done == ["cleaned"]
