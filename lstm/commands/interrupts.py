"""Ctrl-C and the signals that end a process, while a command works: they raise, and none is lost."""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import CodeType, FrameType

from ..startup import end_process
from ..systems import ending_signals, send_signal

LATER = 0.001  # seconds until a signal whose exception was dropped is sent again: the callback has returned


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Let the signals raise in this block, KeyboardInterrupt or SystemExit, so that no partial files stay.

    Python prints and drops what a ``__del__`` or a callback of a weak reference raises, such as one of the
    import system: of 75 SIGINTs at the start of a command one was lost so. Such a signal is sent again.
    """
    heard: list[int] = []
    report = sys.unraisablehook

    def stop(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        if _is_within(frame, repeat.__code__):  # which drops exceptions too
            _thread.start_new_thread(send_again, ())
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            sys.exit(128 + number)  # as a shell reports it

    def repeat(dropped: sys.UnraisableHookArgs) -> None:
        if heard and issubclass(dropped.exc_type, KeyboardInterrupt | SystemExit):
            _thread.start_new_thread(send_again, ())
        else:
            report(dropped)

    def send_again() -> None:
        time.sleep(LATER)
        for number in heard[-1:]:  # none if the block has ended meanwhile
            send_signal(number)

    found = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *ending_signals()):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler, end_process):
                found[number] = signal.signal(number, stop)
        sys.unraisablehook = repeat
    try:
        yield
    finally:
        heard.clear()
        sys.unraisablehook = report
        for number, handler in found.items():
            signal.signal(number, handler)


def _is_within(frame: FrameType | None, code: CodeType) -> bool:
    """Whether a frame is a call of this code, or of what it calls."""
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame is not None
