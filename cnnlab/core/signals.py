"""Ctrl-C and SIGTERM as a question that is answered between two steps, not as an exception in the middle of one."""

import ctypes
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def set_parent_death_signal(kind: signal.Signals) -> None:
    """Let the system send this process a signal when its parent ends, however it ends, or the thread of it that began
    this process does; where the system can."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, kind)  # PR_SET_PDEATHSIG


class SignalRecorder:
    """Within it, the first SIGINT or SIGTERM is noted in `asked`; a second of its kind ends the process at once.

    A signal that is ignored, as under nohup, stays so. Outside the main thread, where Python has no signals, nothing is
    ever asked.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> "SignalRecorder":
        if threading.current_thread() is threading.main_thread():
            heard = [
                number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN
            ]
            self.previous_handlers = {
                number: signal.signal(number, self.record_signal) for number in heard
            }
        return self

    def record_signal(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal, and let the next one through."""
        self.received = number
        signal.signal(number, signal.SIG_DFL)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for number, handler in self.previous_handlers.items():
            signal.signal(number, handler)
