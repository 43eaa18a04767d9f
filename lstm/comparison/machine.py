"""The machine that figures belong to: its CPU and the threads of NumPy's BLAS."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Iterator

from ..config import show_config
from .text import printable


def cpu_name() -> str:
    """The CPU's name as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if match := re.match(r"model name\s*:\s*(.*\S)", line):
                    return match[1]
    except OSError:
        pass  # Not every system has this file.
    return platform.processor() or platform.machine() or "unknown CPU"


def machine() -> str:
    """What the figures belong to, in one line."""
    facts = show_config("dict")
    cpu = f"{cpu_name()} ({os.cpu_count()} CPUs)"
    return f"lstm {facts['lstm']}, Python {facts['python']}, NumPy {facts['numpy']}, {cpu}"


@contextlib.contextmanager
def limited_blas(threads: int) -> Iterator[None]:
    """Hold NumPy's BLAS to so many threads in this block, 0 for as many as it likes."""
    if not threads:
        yield
        return
    try:
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise ImportError(
            'the threads of NumPy\'s BLAS are set by threadpoolctl: pip install "lstm-native[compare]"'
        ) from error
    with threadpool_limits(threads, "blas"):
        yield


def blas_threads() -> int | None:
    """How many threads NumPy's BLAS has; None if that is not known, as without threadpoolctl."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return None
    pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return max(pools, default=None)


def blas_settings() -> str:
    """The environment variables that set the threads of NumPy's BLAS, or ""."""
    names = [name for name in sorted(os.environ) if re.search(r"_(NUM|MAXIMUM)_THREADS$", name)]
    return " ".join(f"{name}={printable(os.environ[name])}" for name in names)
