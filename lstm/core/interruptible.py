"""Work of seconds that hears no signal, in a thread of its own, so that Ctrl-C is heard at once."""

from __future__ import annotations

import _thread
import contextvars
import threading
import weakref
from collections.abc import Callable
from typing import TypeVar

from ..systems import memory_limit

Result = TypeVar("Result")

# Bytes from which work takes long enough to be worth a thread: 2 MiB are copied in a millisecond, and a
# matrix of that size takes some 30 ms to factorize.
LONG = 1 << 21
PIECE = 0.05  # seconds


class _Token:
    """An argument of the thread, which goes when the thread ends, in whatever way."""

    __slots__ = ("__weakref__",)


def interruptible(work: Callable[[], Result], size: int) -> Result:
    """What `work` gives, which reads or writes `size` bytes; signals are heard while it runs.

    Python runs the handlers of signals in the main thread alone, and between two of its instructions: a copy,
    a factorization or an fsync of seconds holds them up. If a handler raises, as that of Ctrl-C does, the
    work goes on to its end and its result is dropped. So it must change nothing that others see.
    """
    if size < LONG or threading.current_thread() is not threading.main_thread():
        return work()
    if memory_limit() is not None:  # glibc reserves 64 MiB of addresses for a thread that allocates
        return work()
    results: list[Result] = []
    errors: list[BaseException] = []
    context = contextvars.copy_context()
    token = _Token()
    is_running = weakref.ref(token)
    done = _thread.allocate_lock()
    done.acquire()

    def run(_: _Token) -> None:
        try:
            results.append(context.run(work))
        except BaseException as error:  # is raised where the work was asked for
            errors.append(error)
        finally:
            done.release()

    try:
        # threading.Thread.start waits for ever if there is no memory for the thread's first steps.
        _thread.start_new_thread(run, (token,))
    except RuntimeError:  # no more threads: rather late signals than no result
        return work()
    del token
    # In pieces: a signal that another thread takes, such as one of BLAS, does not wake this one.
    while not done.acquire(timeout=PIECE) and is_running() is not None:
        pass
    if errors:
        raise errors.pop()
    if not results:
        raise MemoryError("there is no memory for a thread's work")
    return results.pop()
