"""Memory for weights: aligned to cache lines, in huge pages, given back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
from typing import Any

import numpy as np

CACHE_LINE = 64
# Weights of at least this many bytes get memory of their own, which goes back to the system with them.
OWN_MEMORY = 1 << 20
HUGE_PAGE = 1 << 21


def memory(size: int) -> np.ndarray:
    """(size,) zero bytes; many of them straight from the system, to which they go back when freed.

    What the C library frees it may keep: in a process that had freed 30 MB before, a net of H = 1024 held
    2.07 times its weights after `lstm.load`, and so 1.07. Weights are read from end to end at every step,
    which takes an entry of the TLB for each page: in huge pages H = 1024 takes 26 % less at batch 1 and 5 %
    at batch 64, H = 512 6 % at batch 1 (Zen 4). The last one is huge only if not much of it is left empty.
    """
    if size < OWN_MEMORY:
        return np.zeros(size, np.uint8)
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.frombuffer(_pages(size), np.uint8)
    # A shared mapping, mmap's default, gets no huge pages.
    pages = _pages(size + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    buffer = np.frombuffer(pages, np.uint8)
    start = -_address(buffer) % HUGE_PAGE
    huge = (size + size // 8) // HUGE_PAGE * HUGE_PAGE
    if huge > 0:
        with contextlib.suppress(OSError):  # of a system that has none
            pages.madvise(mmap.MADV_HUGEPAGE, start, min(huge, len(pages) - start))
    return buffer[start : start + size]


def _pages(size: int, **options: int) -> mmap.mmap:
    """Pages of no file; MemoryError where the system has none left, or allows no more."""
    try:
        return mmap.mmap(-1, size, **options)
    except OSError as error:
        raise MemoryError(f"there is no memory for {size} bytes") from error


def _address(buffer: np.ndarray) -> int:
    """Where an array begins. NumPy's `ctypes.data` is a SystemError if memory ends in it."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer.data))


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Zeros that start on a cache line, so that no vector of weights straddles two."""
    size = math.prod(shape) * dtype.itemsize
    buffer = memory(size + CACHE_LINE)
    offset = -_address(buffer) % CACHE_LINE
    return buffer[offset : offset + size].view(dtype).reshape(shape)
