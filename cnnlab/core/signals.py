"""Respond to Ctrl-C and to the signals by which systems ask a program to stop.

Nothing here raises an exception in whatever code a signal interrupts: an import, a destructor or a
library could swallow it or turn it into another one. The process ends at once, with the signal's
exit code, except where a `SignalRecorder` lets a loop finish its step.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from types import FrameType, TracebackType

# Ctrl-C, `kill`, a closed terminal, and what batch systems send before they kill:
# Slurm's --signal=USR1@60, for example.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
REPEAT_WINDOW_S = 0.5  # `timeout` and some shells send a signal twice, within milliseconds

Respond = Callable[[int], object]
Handlers = dict[int, object]  # by signal
CLEANUPS: list[Callable[[], object]] = []


@contextmanager
def cleaning_up(action: Callable[[], object]) -> Iterator[None]:
    """Call `action` at the end of the context, also where a signal ends the process within."""
    with cleaning_up_on_signal(action):
        try:
            yield
        finally:
            action()


@contextmanager
def cleaning_up_on_signal(action: Callable[[], object]) -> Iterator[None]:
    """Call `action` where a signal ends the process within the context."""
    CLEANUPS.append(action)
    try:
        yield
    finally:
        CLEANUPS.remove(action)


def install_stop_handlers(respond: Respond) -> Handlers:
    """Let `respond` handle the stop signals; return {signal: previous handler}.

    A signal that is ignored, as SIGHUP under nohup, stays ignored. Python handles signals in the
    main thread only; called in another one, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}

    def handle(number: int, frame: FrameType | None) -> None:
        respond(number)

    return {
        number: signal.signal(number, handle)
        for number in STOP_SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }


def restore_handlers(previous: Handlers) -> None:
    """Install the handlers that `install_stop_handlers` returned."""
    for number, handler in previous.items():
        signal.signal(number, handler)  # type: ignore[arg-type]


@contextmanager
def stop_handlers(respond: Respond) -> Iterator[None]:
    """Let `respond` handle the stop signals in the context."""
    previous = install_stop_handlers(respond)
    try:
        yield
    finally:
        restore_handlers(previous)


def exit_on_signal(number: int) -> None:
    """End the process at once: its temporary files are removed and one line is printed."""
    name = signal.Signals(number).name
    exit_process(number, "interrupted" if number == signal.SIGINT else f"stopped by {name}")


def exit_process(number: int, message: str) -> None:
    """End the process with a line and the exit code of a signal, from that signal's handler."""
    for action in reversed(CLEANUPS):
        with suppress(OSError):
            action()
    with suppress(OSError):  # print() may be what the signal interrupted
        os.write(2, f"cnnlab: {message}\n".encode("ascii", "backslashreplace"))
    os._exit(128 + number)


class SignalRecorder:
    """A context that records the first stop signal in `received`, so that a loop can end its step.

    A second Ctrl-C ends the process, also within a library; so does a second SIGTERM, half a second
    after the first signal. The others come twice without anybody insisting.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.received_at = 0.0
        self.previous_handlers: Handlers = {}

    def __enter__(self) -> "SignalRecorder":
        self.previous_handlers = install_stop_handlers(self.record)
        return self

    def record(self, number: int) -> None:
        """Record the first signal; end the process if somebody insists."""
        if self.received is None:
            self.received, self.received_at = number, monotonic()
            if signal.SIGINT in self.previous_handlers:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
        elif number == signal.SIGTERM and monotonic() - self.received_at > REPEAT_WINDOW_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        restore_handlers(self.previous_handlers)

    def deliver(self) -> None:
        """Send the recorded signal again, after the context, if nothing else has obeyed it."""
        if self.received is not None:
            os.kill(os.getpid(), self.received)
