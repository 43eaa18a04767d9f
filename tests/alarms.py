"""How long a signal waits during a call, counted in CPU time."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

AFTER = 0.1  # seconds of CPU time until the signal comes
HEARD = 0.3  # until its handler has run, with a margin for a process that is interrupted itself


class Alarm(Exception):
    """What the handler raises."""


class EndedBefore(AssertionError):
    """The call took less CPU time than the signal waited for: `took` seconds."""

    def __init__(self, took: float, after: float) -> None:
        super().__init__(f"the call ended after {took:.3f} s, a signal was to come after {after:.3f} s")
        self.took = took


def alarm(*_: Any) -> None:
    raise Alarm


def delay_of(call: Callable[[], object], after: float = AFTER) -> float:
    """CPU time from a signal, sent in the middle of a call, to the exception that its handler raises.

    The timer counts as `process_time` does, the system's work for the process included: a call's first touch
    of its results takes tenths of a second on a busy machine.
    """
    before = signal.signal(signal.SIGPROF, alarm)
    start = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, after)
    try:
        call()
    except Alarm:
        return time.process_time() - start - after
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    raise EndedBefore(time.process_time() - start, after)
