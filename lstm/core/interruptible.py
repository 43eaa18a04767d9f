"""Work of seconds that hears no signal, in a thread of its own, so that Ctrl-C is heard at once."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

# Bytes from which work takes long enough to be worth a thread: 2 MiB are copied in a millisecond, and a
# matrix of that size takes some 30 ms to factorize.
LONG = 1 << 21
PIECE = 0.05  # seconds


def interruptible(work: Callable[[], Result], size: int) -> Result:
    """What `work` gives, which reads or writes `size` bytes; signals are heard while it runs.

    Python runs the handlers of signals in the main thread alone, and between two of its instructions: a copy,
    a factorization or an fsync of seconds holds them up. If a handler raises, as that of Ctrl-C does, the
    work goes on to its end and its result is dropped. So it must change nothing that others see.
    """
    if size < LONG or threading.current_thread() is not threading.main_thread():
        return work()
    results: list[Result] = []
    errors: list[BaseException] = []
    context = contextvars.copy_context()

    def run() -> None:
        try:
            results.append(context.run(work))
        except BaseException as error:  # is raised where the work was asked for
            errors.append(error)

    thread = threading.Thread(target=run, name="lstm-work", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads: rather late signals than no result
        return work()
    # In pieces: a signal that another thread takes, such as one of BLAS, does not wake this one.
    while thread.is_alive():
        thread.join(PIECE)
    if errors:
        raise errors.pop()
    return results.pop()
