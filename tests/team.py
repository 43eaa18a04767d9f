"""What tests of threads share."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

import lstm
from lstm import _kernel


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads within the block, and after it as many as there would be."""
    lstm.set_num_threads(count)
    try:
        yield
    finally:
        lstm.set_num_threads(None)


@contextlib.contextmanager
def every_call_shared(work: int = 100) -> Iterator[None]:
    """Within the block calls are split from so little work on, and whether that pays or not."""
    found = _kernel.share_grains(work, True)
    try:
        yield
    finally:
        _kernel.share_grains(found, False)


def status_of_child(check: Callable[[], None]) -> int:
    """The exit status of a forked child: 0 if `check` returns without an error."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            check()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def check_in_forks(check: Callable[[], None], rounds: int) -> None:
    """`check` in so many children after calls, and as many during calls of another thread.

    A child has no threads of its parent's, and starts its own.
    """
    finished = threading.Event()

    def go_on() -> None:
        while not finished.is_set():
            check()

    for _ in range(rounds):
        check()
        assert status_of_child(check) == 0
    other = threading.Thread(target=go_on)
    other.start()
    try:
        for _ in range(rounds):
            assert status_of_child(check) == 0
    finally:
        finished.set()
        other.join()
