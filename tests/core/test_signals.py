import os
import signal
import subprocess
import sys
import threading

from cnnlab.core.signals import SignalRecorder


def test_the_first_signal_is_noted_and_the_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with SignalRecorder() as signals:
        assert signals.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_one_ends_the_process_at_once() -> None:
    twice = "with SignalRecorder():\n for _ in range(2): os.kill(os.getpid(), 2)\nprint('still here')"
    code = f"import os; from cnnlab.core.signals import SignalRecorder\n{twice}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT and done.stdout == ""


def test_in_another_thread_nothing_is_asked() -> None:
    seen: list[int | None] = [0]

    def inside() -> None:
        with SignalRecorder() as signals:
            seen[0] = signals.received

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [None]
