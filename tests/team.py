"""What tests of threads share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

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
