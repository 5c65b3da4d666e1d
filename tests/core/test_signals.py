import os
import signal
import subprocess
import sys
import threading

from cnnlab.core.signals import SignalRecorder


def test_the_first_signal_is_recorded_and_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with SignalRecorder() as signals:
        assert signals.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_ends_the_process() -> None:
    code = """
import os
from cnnlab.core.signals import SignalRecorder
with SignalRecorder():
    for _ in range(2):
        os.kill(os.getpid(), 2)
print("still here")
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == -signal.SIGINT and process.stdout == ""


def test_nothing_is_recorded_in_another_thread() -> None:
    received: list[int | None] = [0]

    def record() -> None:
        with SignalRecorder() as signals:
            received[0] = signals.received

    thread = threading.Thread(target=record)
    thread.start()
    thread.join()
    assert received == [None]
