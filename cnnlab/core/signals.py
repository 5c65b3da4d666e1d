"""Record Ctrl-C and SIGTERM, so that a run stops between two steps, not within one."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SignalRecorder:
    """A context that records the first SIGINT or SIGTERM in `received`; a second ends the process.

    An ignored signal, as under nohup, stays ignored. Outside the main thread, where Python handles
    no signals, nothing is recorded.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> "SignalRecorder":
        if threading.current_thread() is threading.main_thread():
            self.previous_handlers = {
                number: signal.signal(number, self.record_signal)
                for number in STOP_SIGNALS
                if signal.getsignal(number) is not signal.SIG_IGN
            }
        return self

    def record_signal(self, number: int, frame: FrameType | None) -> None:
        """Record the signal; the next one has its default effect."""
        self.received = number
        signal.signal(number, signal.SIG_DFL)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self.previous_handlers.items():
            signal.signal(number, handler)
